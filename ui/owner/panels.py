"""The parts of a data owner's page as HTML, rendered from the agent's views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from governance.datasets import Description
from governance.mock import mock
from parties.governance.judging import uses_words
from parties.governance.views import DataSetView, RequestView
from ui.consent import panels
from ui.consent.words import (
    ACTION_WORDS,
    days_words,
    field_words,
    is_less,
    key_print,
    mask_words,
    moment,
    purpose_sentence,
    readers_words,
    type_words,
    what_words,
)
from ui.owner.drafts import MOST_SHOWN_COLUMNS, Draft
from ui.units import escape, show_bytes

MOCK_ROWS = 6
WHAT = (
    "This page belongs to a process that keeps your data on this machine, encrypted. Institutions "
    "ask here; you decide, and only what you approve is computed and leaves."
)
NO_REQUEST = "No request is waiting."
NO_REQUEST_YET = (
    "No request is waiting. Store data under My data, then host a session and give its code to an "
    "institution: its requests appear here."
)
NO_APPROVAL = "No answers yet. What you approve can be paused or revoked here at any time."


def code_panel(code: str) -> str:
    """Return what to do with a session's code."""
    return (
        '<p class="ts-note">Give this code to one institution, over a channel that you trust. It '
        "works once, and it is shown only here and only now.</p>"
        if code
        else ""
    )


def draft_panel(draft: Draft | None) -> str:
    """Return what was read from a file or a text."""
    if draft is None:
        return panels.empty("Choose a CSV or JSON file, or paste JSON, to see its columns here.")
    source = draft.source.replace(
        "The pasted", "the pasted", 1
    )  # begins errors, but no sentence here
    rows = f"{draft.rows:,} row{'' if draft.rows == 1 else 's'}"
    more = (
        f" Only those of the first {MOST_SHOWN_COLUMNS} can be changed here."
        if len(draft.columns) > MOST_SHOWN_COLUMNS
        else ""
    )
    return (
        f'<p class="ts-run" role="status">Read <b>{escape(source)}</b>: {rows}, '
        f"{len(draft.columns)} columns, {show_bytes(len(draft.data))}. "
        "Check the category of each column: the policy judges requests by it, and allows none "
        f"for a column without one.{more}</p>"
    )


def mock_panel(data_set: DataSetView | None) -> str:
    """Return invented rows with the columns of a data set, as requesters get them."""
    if data_set is None:
        return ""
    description = Description(
        tag=data_set.tag,
        schema_name=data_set.schema_name,
        words=data_set.words,
        columns=data_set.columns,
        rows=data_set.rows,
    )
    rows = mock(description, MOCK_ROWS).rows
    return panels.rows_table(
        rows, f"Invented rows of {data_set.tag}, as an institution sees them before it asks:"
    )


def no_request(first: bool) -> str:
    """Return that the inbox is empty, with the way to the `first` request."""
    return panels.empty(NO_REQUEST_YET if first else NO_REQUEST)


def inbox_panel(
    request: RequestView, place: int, count: int, data_set: DataSetView | None, now: float
) -> str:
    """Return one request in large type; `place` counts from 1 among `count` that wait."""
    asked = request.request
    waits = f"Request {place} of {count}" if count > 1 and place else "Request"
    verdict = _verdict(request)
    over = "" if request.status == "pending" else _over(request)
    items = [
        ("Purpose", escape(purpose_sentence(asked.purpose))),
        ("Their reason", f"<q>{escape(asked.reason)}</q>"),
        ("Data", _data(request, data_set)),
        ("What is done with it", escape(what_words(asked))),
        ("Who learns the result", escape(readers_words(asked))),
        ("How often", escape(uses_words(asked.uses).capitalize())),
        ("Until", escape(f"{moment(asked.not_after)}{_left(asked.not_after - now)}")),
        ("Result is kept", escape(days_words(asked.retention_days))),
    ]
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in items)
    return f"""
<article class="ts-ask" data-request="{escape(asked.id)}">
  <p class="ts-brand">{escape(waits)}</p>
  <p class="ts-word">{escape(asked.requester.name)}</p>
  <p class="ts-note">{escape(type_words(request.peer_type).capitalize())}, registered as
  {escape(request.peer)}, key
  <code>{escape(key_print(asked.requester.key))}</code></p>
  {over}<p class="ts-says">{escape(request.words)}</p>
  <dl class="ts-asked">{listed}</dl>
  {verdict}{_masks(request.masks, asked.fields)}
</article>"""


def running_table(requests: Sequence[RequestView], tags: Mapping[str, str]) -> str:
    """Return the requests that were answered; `tags` names the data sets."""
    if not requests:
        return panels.empty(NO_APPROVAL)
    return panels.table(
        ("Requester", "Data set", "State", "Uses left", "Ends"),
        [
            (
                escape(each.request.requester.name),
                escape(tags.get(each.data_set, each.data_set)),
                panels.badge(each.status),
                panels.uses_left(each),
                escape(moment(_end(each))),
            )
            for each in requests
        ],
    )


def approval_panel(request: RequestView | None) -> str:
    """Return one answered request: what was approved, and its uses."""
    if request is None:
        return ""
    problem = (
        f'<p class="ts-stale">The last use failed: {escape(request.problem)}</p>'
        if request.problem
        else ""
    )
    granted = request.grant
    less = panels.note("You approved less than was asked for:") if is_less(request) else ""
    pairs = [
        ("Purpose", purpose_sentence(request.request.purpose)),
        ("Fields", ", ".join(granted.fields if granted else request.request.fields)),
        ("Uses", uses_words(granted.uses if granted else request.request.uses)),
        ("Until", moment(_end(request))),
        (_whose_reason(request), request.reason),
    ]
    return (
        f'<p class="ts-run">{panels.badge(request.status)} {escape(request.words)}</p>{problem}'
        f"{less}{panels.facts(pairs)}<h3 class='ts-sub'>Uses</h3>{panels.uses_list(request)}"
    )


def _whose_reason(request: RequestView) -> str:
    # The owner is not asked about what the policy forbids.
    return "Your reason" if request.policy_allows else "Denied without asking you"


def approval_name(request: RequestView, tags: Mapping[str, str]) -> str:
    """Return the label of an answered request in a list of choices."""
    asked, tag = request.request, tags.get(request.data_set, request.data_set)
    return f"{asked.requester.name}: {ACTION_WORDS[asked.action]} of {tag}, {request.status}"


def _end(request: RequestView) -> int:
    return request.grant.not_after if request.grant else request.request.not_after


def _data(request: RequestView, data_set: DataSetView | None) -> str:
    columns = {column.name: column for column in data_set.columns} if data_set else {}
    fields = "".join(
        f"<li>{escape(field_words(name, columns.get(name)))}</li>"
        for name in request.request.fields
    )
    missing = "" if data_set else " (no longer in the store)"
    return f"{escape(data_set.tag if data_set else request.data_set)}{missing}<ul>{fields}</ul>"


def _verdict(request: RequestView) -> str:
    kind, sign = ("approved", "✓") if request.policy_allows else ("denied", "✕")
    head = (
        "The policy allows this if you approve" if request.policy_allows else "The policy forbids"
    )
    return (
        f'<div class="ts-verdict {kind}"><b aria-hidden="true">{sign}</b><p>'
        f"<strong>{head}.</strong> {escape(request.policy_words)}</p></div>"
    )


def _masks(masks: Mapping[str, str], fields: Sequence[str]) -> str:
    shown = [(name, mask_words(masks[name])) for name in fields if name in masks]
    if not shown:
        return ""
    items = "".join(f"<li>{escape(name)}: {escape(words)}</li>" for name, words in shown)
    head = '<h3 class="ts-sub">How each field is masked</h3>'
    return f'<div class="ts-masks">{head}<ul>{items}</ul></div>'


def _over(request: RequestView) -> str:
    return (
        f'<p class="ts-stale" role="status">This request no longer waits: it is '
        f"{escape(request.status)}.</p>"
    )


def _left(seconds: float) -> str:
    if seconds <= 0:
        return ""
    if seconds < 5400:
        return f" (in {max(1, round(seconds / 60))} minutes)"
    if seconds < 48 * 3600:
        return f" (in {round(seconds / 3600)} hours)"
    return f" (in {round(seconds / 86400)} days)"
