"""Parts of both pages as HTML, rendered from the views of an agent; everything is escaped."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence

from governance.datasets import Column, Record
from governance.request_state import Status
from parties.governance.views import ActivityLine, DataSetView, RequestView, SessionView
from ui.consent.words import (
    SESSION_WORDS,
    STATUS_WORDS,
    column_words,
    key_print,
    moment,
    type_words,
)
from ui.units import escape

MOST_LINES = 200
"""Lines of activity that a page shows, the newest first."""
MOST_CELL = 80
"""Characters of a value in a table of invented rows."""
_KINDS: dict[Status, str] = {
    "pending": "wait",
    "approved": "wait",
    "active": "good",
    "paused": "wait",
    "denied": "bad",
    "revoked": "bad",
    "expired": "off",
    "used up": "off",
}


def introduction(name: str, key: str, what: str, other: str) -> str:
    """Return the page header: the name, what the page is for, and the key's fingerprint.

    `other` names those who have to see the same fingerprint.
    """
    return f"""
<header class="ts-head ts-head-agent">
  <p class="ts-brand">Triseal</p>
  <h1>{escape(name)}</h1>
  <p class="ts-note">{escape(what)}</p>
  <p class="ts-print"><span>Your key's fingerprint. {escape(other)} sees it too: compare it by
  telephone.</span>
  <code>{escape(key_print(key))}</code></p>
</header>"""


def told(message: str) -> str:
    """Return an error message for the place beside the button that was pressed."""
    return f'<p class="ts-stale ts-told" role="alert">{escape(message)}</p>' if message else ""


def done(message: str) -> str:
    """Return a message about a step that was taken."""
    return f'<p class="ts-same ts-told" role="status">{escape(message)}</p>'


def empty(text: str) -> str:
    """Return the text of a part that has nothing to show."""
    return f'<p class="ts-empty">{escape(text)}</p>'


def note(text: str) -> str:
    """Return a remark."""
    return f'<p class="ts-note">{escape(text)}</p>'


def facts(pairs: Iterable[tuple[str, str]], classes: str = "ts-facts") -> str:
    """Return names with their values; empty values are left out."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in pairs
        if value
    )
    return f'<dl class="{classes}">{items}</dl>'


def badge(status: Status) -> str:
    """Return the state of a request as a label."""
    return f'<span class="ts-badge {_KINDS[status]}">{escape(STATUS_WORDS[status])}</span>'


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], classes: str = "") -> str:
    """Return a table of HTML cells, the first of each row a heading."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(
            f'<td data-who="{escape(name)}">{cell}</td>'
            for name, cell in zip(heads[1:], rest, strict=True)
        )
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<table class="ts-table ts-list {classes}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def sessions_table(sessions: Sequence[SessionView], other: str, none: str) -> str:
    """Return the sessions, the newest first; `other` names the other side, `none` is for none."""
    if not sessions:
        return empty(none)
    rows = [
        (
            escape(session_name(each)),
            escape(SESSION_WORDS[each.status]),
            _peer(each),
            escape(moment(each.expires)),
        )
        for each in sorted(sessions, key=lambda each: -each.created)
    ]
    return table(("Session", "State", other, "Ends"), rows)


def session_name(session: SessionView) -> str:
    """Return the title of a session, or when it began."""
    return session.title or f"opened {moment(session.created)}"


def data_sets_table(data_sets: Sequence[DataSetView], none: str) -> str:
    """Return data sets with their columns, types and categories, without values."""
    if not data_sets:
        return empty(none)
    shown = "".join(_data_set(each) for each in data_sets)
    return f'<div class="ts-sets" tabindex="0" role="region" aria-label="Data sets">{shown}</div>'


def columns_words(columns: Sequence[Column]) -> str:
    """Return columns with type and category as a list in HTML."""
    items = "".join(
        f"<li><b>{escape(each.name)}</b> <span>{escape(column_words(each))}</span></li>"
        for each in columns
    )
    return f'<ul class="ts-columns">{items}</ul>'


def rows_table(rows: Sequence[Record], caption: str) -> str:
    """Return rows of values in a table that scrolls by itself."""
    if not rows:
        return empty("There are no rows.")
    names = list(rows[0])
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return (
        f'<p class="ts-note">{escape(caption)}</p><div class="ts-scroll" tabindex="0" '
        f'role="region" aria-label="{escape(caption)}"><table class="ts-rows">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def uses_list(request: RequestView) -> str:
    """Return the uses of a request with their entries in the log."""
    if not request.uses:
        return empty("Not used yet.")
    items = "".join(
        f"<li>{escape(moment(use.at))}{_entry(use.entry)}</li>" for use in request.uses[-50:]
    )
    return f'<ul class="ts-uses">{items}</ul>'


def uses_left(request: RequestView) -> str:
    """Return how many uses are left, a dash for a request that was never approved."""
    return "–" if request.grant is None else str(request.uses_left)


def activity_list(lines: Sequence[ActivityLine], none: str) -> str:
    """Return the activity of an agent, the newest first."""
    if not lines:
        return empty(none)
    newest = sorted(lines, key=lambda line: line.at)[::-1]
    items = "".join(
        f'<li><span class="time">{escape(moment(line.at))}</span>'
        f'<span class="who">{escape(line.by)}</span>'
        f'<span class="what"><b>{escape(line.kind)}</b> {escape(line.words)}</span>'
        f'<span class="entry">{_entry(line.entry)}</span></li>'
        for line in newest[:MOST_LINES]
    )
    return f'<ol class="ts-activity" tabindex="0" aria-label="Activity">{items}</ol>'


def receipt_link(receipt: bytes, request_id: str) -> str:
    """Return a link that saves the receipt as a file, with the receipt in the link itself."""
    data = base64.b64encode(receipt).decode()
    name = f"receipt-{re.sub('[^0-9a-f]', '', request_id)[:12]}.json"
    return (
        f'<p><a class="ts-save" download="{name}" '
        f'href="data:application/json;base64,{data}">Download the consent receipt</a></p>'
    )


def _peer(session: SessionView) -> str:
    if session.peer is None and session.peer_key is None:
        return "–"
    kind = f", {escape(type_words(session.peer_type))}" if session.peer_type else ""
    return f"{escape(session.peer or '')}{kind}<code>{escape(key_print(session.peer_key))}</code>"


def _data_set(data_set: DataSetView) -> str:
    rows = f"{data_set.rows:,} row{'' if data_set.rows == 1 else 's'}"
    count = len(data_set.columns)
    columns = f"{count} column{'' if count == 1 else 's'}"
    words = f"<p>{escape(data_set.words)}</p>" if data_set.words else ""
    return (
        f'<article class="ts-card"><h3>{escape(data_set.tag)}</h3>{words}'
        f'<p class="ts-note">{rows}, {columns}</p>{columns_words(data_set.columns)}</article>'
    )


def _cell(value: object) -> str:
    if value is None:
        return '<i class="ts-none">missing</i>'
    text = str(value)
    return escape(text if len(text) <= MOST_CELL else text[:MOST_CELL] + "…")


def _entry(entry: int | None) -> str:
    return "" if entry is None else f' <span class="ts-entry">log entry {entry}</span>'
