"""The parts of an institution's page as HTML, rendered from the agent's views."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from governance.datasets import Record
from governance.request_state import Status
from parties.governance.judging import uses_words
from parties.governance.views import RequestView
from ui.consent import panels
from ui.consent.words import (
    ACTION_WORDS,
    STATUS_WORDS,
    days_words,
    is_less,
    mask_words,
    moment,
    purpose_sentence,
)
from ui.units import escape

WHAT = (
    "This page belongs to a process that asks owners of data. It sees descriptions and invented "
    "rows, and after an owner's approval exactly the result that was approved."
)
NOTHING_FOUND = "No data set matches."
NOT_CONNECTED = "Connect with an owner first; its data sets can then be listed here."
NOT_BROWSED = "Choose an owner and search; without words, all data sets are listed."
NOT_FOUND = "Browse an owner's data sets first; then ask about one of them."
NOT_USABLE: dict[Status, str] = {
    "pending": "It can be used once the owner has approved it.",
    "approved": "It can be used once the owner's receipt has arrived.",
    "paused": "The owner has paused it: it can be used again once the owner resumes it.",
    "revoked": "The owner has revoked it: it cannot be used again.",
    "expired": "Its time is over. Ask again to go on.",
    "used up": "All its uses are used up. Ask again for more.",
}
"""Why a request cannot be used now, except for a denial, which has a reason of its own."""
NO_REQUESTS = "No requests yet. Those that you ask an owner for appear here, with their results."
MOST_RESULTS = 20
MOST_RESULT_ROWS = 200


def mock_panel(rows: Sequence[Record], result: Mapping[str, Any] | None, problem: str = "") -> str:
    """Return invented rows, and the result of a statistic on such rows or why there is none."""
    shown = panels.rows_table(rows, "Invented rows; nothing here is the owner's data.")
    if result is None:
        return (panels.note(problem) if problem else "") + shown
    return (
        f'<div class="ts-mock">{result_panel(result)}<p class="ts-note">on invented rows: it says '
        f"nothing about the owner's data</p></div>{shown}"
    )


def requests_table(requests: Sequence[RequestView]) -> str:
    """Return all requests with their states."""
    if not requests:
        return panels.empty(NO_REQUESTS)
    return panels.table(
        ("Owner", "Data set", "Request", "State", "Uses left"),
        [
            (
                escape(each.peer),
                escape(each.data_set),
                escape(ACTION_WORDS[each.request.action]),
                panels.badge(each.status),
                panels.uses_left(each),
            )
            for each in requests
        ],
    )


def request_name(request: RequestView) -> str:
    """Return the label of a request in a list of choices."""
    made = moment(request.request.created)
    action = ACTION_WORDS[request.request.action]
    return f"{action} of {request.data_set}, {made}: {STATUS_WORDS[request.status]}"


def request_panel(request: RequestView | None) -> str:
    """Return one request: its state, the owner's answer, its uses and results."""
    if request is None:
        return ""
    asked, granted = request.request, request.grant
    masks = "; ".join(f"{name}: {mask_words(mask)}" for name, mask in request.masks.items())
    pairs = [
        ("Purpose", purpose_sentence(asked.purpose)),
        ("Reason given", asked.reason),
        ("Fields", ", ".join(granted.fields if granted else asked.fields)),
        ("Uses", uses_words(granted.uses if granted else asked.uses)),
        ("Uses left", panels.uses_left(request)),
        ("Until", moment(granted.not_after if granted else asked.not_after)),
        ("Result is kept", days_words(asked.retention_days)),
        ("Masks", masks if asked.action == "release" else ""),
        ("Owner's reason", request.reason if request.policy_allows else ""),
    ]
    less = panels.note("The owner approved less than was asked for.") if is_less(request) else ""
    return (
        f'<p class="ts-run">{panels.badge(request.status)} {escape(request.words)}</p>'
        f"{_usable(request)}{_problem(request)}{less}{panels.facts(pairs)}{_policy(request)}{_results(request)}"
    )


def result_panel(result: Mapping[str, Any]) -> str:
    """Return a result: a statistic in large type, or a table of fields, or a note."""
    if isinstance(result.get("value"), int | float) and "kind" in result:
        kind = str(result["kind"]).replace("_", " ")
        return (
            f'<div class="ts-result"><span>{escape(kind)}</span>'
            f"<b>{escape(_number(result['value']))}</b></div>"
        )
    if result.get("groups"):
        rows = [(escape(e.get("name")), escape(_number(e.get("value")))) for e in result["groups"]]
        heads = (str(result.get("kind", "group")).replace("_", " "), "Value")
        return panels.table(heads, rows[:MOST_RESULT_ROWS])
    if isinstance(result.get("rows"), list):
        rows_of = result["rows"][:MOST_RESULT_ROWS]
        return panels.rows_table(rows_of, f"{len(result['rows']):,} records, masked")
    if "application" in result:
        return panels.note(
            f"The owner's process has joined the application {str(result['application'])[:8]}… and "
            f"agreed to {result.get('program')}. Read the result on the page of your own party."
        )
    return panels.facts((name, _text(value)) for name, value in result.items())


def _results(request: RequestView) -> str:
    if not request.results:
        return ""
    shown = "".join(result_panel(each) for each in reversed(request.results[-MOST_RESULTS:]))
    return f'<h3 class="ts-sub">Results, the newest first</h3>{shown}'


def _usable(request: RequestView) -> str:
    words = NOT_USABLE.get(request.status, "")
    return f'<p class="ts-next">{escape(words)}</p>' if words else ""


def _problem(request: RequestView) -> str:
    if not request.problem:
        return ""
    return f'<p class="ts-stale" role="status">{escape(request.problem)}</p>'


def _policy(request: RequestView) -> str:
    return (
        panels.note(f"The owner's policy: {request.policy_words}") if request.policy_words else ""
    )


def _number(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
