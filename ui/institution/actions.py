"""The handlers of an institution's page: each acts on the agent and returns what changes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from anyio import to_thread

from governance.requests import Action, Period, Uses
from parties.governance.institution import Institution
from parties.governance.views import DataSetView, RequestView, SessionView
from ui.consent import panels
from ui.consent.handling import Turn, View, is_outdated, refilled
from ui.institution import asking
from ui.institution import panels as own_panels
from ui.institution.asking import Chosen
from ui.ticks import wait_for
from utils.errors import ComputationTooNarrow, InvalidRequest, OutOfStep

SECTIONS = ("sessions", "browse", "ask", "requests")
MOCK_ROWS = 8
STATISTIC_FIELDS = ("statistic", "column", "day", "number", "filter_column", "op", "filter_value")


@dataclass
class Shown:
    """The choices and texts that a browser session shows, as of the agent's serial number `serial`.

    `found` are the data sets of the owner of the session `browsed`.
    """

    turn: Turn = field(default_factory=Turn)
    serial: int = -1
    rendered: float = 0.0
    browsed: str = ""
    found: tuple[DataSetView, ...] = ()
    searched: bool = False
    request_id: str = ""
    told: dict[str, str] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)


class InstitutionActions:
    """The event handlers of an institution's page."""

    def __init__(self, institution: Institution) -> None:
        self.institution = institution

    def view(self, shown: Shown) -> View:
        """Return everything that depends on the agent, rendered from its current state."""
        with shown.turn:
            return self._view(shown)

    def _view(self, shown: Shown) -> View:
        serial = self.institution.serial  # read first, so that no change is missed
        found = {
            "state": shown,
            **self._sessions(shown),
            **self._found(shown),
            **self._requests(shown),
            "activity": panels.activity_list(
                self.institution.activity(), "Nothing has happened yet."
            ),
            **{f"told_{name}": shown.told.get(name, "") for name in SECTIONS},
        }
        shown.serial, shown.rendered = serial, time.monotonic()
        return found

    async def tick(self, shown: Shown) -> View:
        """Wait for a change of the agent; return what changed."""
        if not await wait_for(lambda: is_outdated(shown, self.institution.serial)):
            return {}
        return await to_thread.run_sync(self.view, shown)

    # sessions

    def connect(self, shown: Shown, code: str) -> View:
        """Connect with an owner's code."""
        if not code.strip():
            raise InvalidRequest("Paste the code that the owner has given to you.")
        session = self.institution.connect_session(code.strip())
        shown.browsed, shown.found, shown.searched = session.session_id, (), False
        return {**self.view(shown), "code": ""}

    def end_session(self, shown: Shown, session_id: str | None) -> View:
        """End a session."""
        if not session_id:
            raise OutOfStep("Choose a session to end.")
        self.institution.end_session(session_id)
        return self.view(shown)

    def _sessions(self, shown: Shown) -> View:
        sessions = self.institution.sessions()
        still = [each for each in sessions if each.status in ("waiting", "connected")]
        choices = [(_owner_name(each), each.session_id) for each in still]
        ids = [each.session_id for each in still]
        if shown.browsed not in ids:
            shown.browsed, shown.found, shown.searched = ids[-1] if ids else "", (), False
        return {
            "sessions": panels.sessions_table(
                sessions, "Owner", "No sessions yet. An owner of data gives you a code."
            ),
            "end_row": gr.update(visible=bool(still)),
            "session_choice": refilled(shown, "session", choices, ids[-1] if ids else None),
            "browse_box": gr.update(visible=bool(still)),
            "owner_choice": refilled(shown, "owner", choices, shown.browsed or None),
        }

    # data sets

    def search(self, shown: Shown, session_id: str | None, words: str, tag: str) -> View:
        """List the data sets of an owner."""
        if not session_id:
            raise OutOfStep("Connect with an owner's code first.")
        shown.found = self.institution.data_sets(session_id, words.strip(), tag.strip())
        shown.browsed, shown.searched = session_id, True
        return self.view(shown)

    def _found(self, shown: Shown) -> View:
        # A session that is over has no data sets to list.
        none = own_panels.NOT_BROWSED if shown.browsed else own_panels.NOT_CONNECTED
        if shown.searched:
            none = own_panels.NOTHING_FOUND
        return {
            "found": panels.data_sets_table(shown.found, none),
            "ask_box": gr.update(visible=bool(shown.found)),
            "not_asked": "" if shown.found else panels.empty(own_panels.NOT_FOUND),
            "data_set": refilled(
                shown, "data", [(each.tag, each.id) for each in shown.found], None
            ),
        }

    # asking

    def form(
        self,
        shown: Shown,
        data_set: str | None,
        action: Action,
        kind: str,
        filter_column: str | None,
    ) -> View:
        """Show the fields that the chosen data set and kind of request need."""
        found = _data_set(shown, data_set)
        statistic = action == "statistic"
        columns = asking.columns_for(kind, found)
        days = asking.day_columns(kind, found)
        names = [each.name for each in found.columns] if found else []
        compared = asking.comparisons(filter_column, found)
        return {
            "state": shown,
            "mock": "",
            "statistic_box": gr.update(visible=statistic),
            "fields": gr.update(choices=names, value=[], visible=action == "release"),
            "join_code": gr.update(visible=action in ("decide", "explain")),
            "column": gr.update(
                choices=columns, value=columns[0] if columns else None, visible=kind != "count"
            ),
            "day": gr.update(
                choices=days, value=days[0] if days else None, visible=kind == "trend_per_month"
            ),
            "number": gr.update(
                label=asking.NUMBERS.get(kind, "Number"), visible=kind in asking.NUMBERS
            ),
            "filter_column": gr.update(choices=asking.filter_columns(found), value=""),
            "op": gr.update(choices=compared, value="==", visible=False),
            "filter_value": gr.update(value="", visible=False),
        }

    def filter_form(
        self, shown: Shown, data_set: str | None, filter_column: str | None, op: str
    ) -> View:
        """Show the fields of the filter that was chosen."""
        compared = asking.comparisons(filter_column, _data_set(shown, data_set))
        ops = [value for _, value in compared]
        op = op if op in ops else "=="
        return {
            "op": gr.update(choices=compared, value=op, visible=bool(filter_column)),
            "filter_value": gr.update(visible=bool(filter_column) and "missing" not in op),
        }

    def try_it(
        self, shown: Shown, data_set: str | None, action: Action, fields: list[str], *chosen: str
    ) -> View:
        """Show invented rows, and the chosen statistic of invented rows."""
        found = _required(shown, data_set)
        result, problem = None, ""
        if action == "statistic":
            made = asking.computation_from(Chosen(*chosen), found)
            try:
                result = self.institution.try_on_mock(shown.browsed, found.id, made)
            except ComputationTooNarrow as error:  # invented rows seldom share a month
                problem = f"On these invented rows: {error.message}"
        rows = self.institution.mock(shown.browsed, found.id, MOCK_ROWS)
        if action == "release" and fields:
            rows = tuple({name: row.get(name) for name in fields} for row in rows)
        return {
            "state": shown,
            "told_ask": "",
            "mock": own_panels.mock_panel(rows, result, problem),
        }

    def ask(
        self,
        shown: Shown,
        data_set: str | None,
        action: Action,
        fields: list[str],
        join_code: str,
        purpose: str,
        reason: str,
        uses: float | None,
        period: Period | None,
        hours: float,
        days: float | None,
        *chosen: str,
    ) -> View:
        """Sign a request and put it before the owner."""
        found = _required(shown, data_set)
        if not purpose:
            raise InvalidRequest("Choose the purpose of the request.")
        if not reason.strip():
            raise InvalidRequest("Write a reason: the owner reads it when deciding.")
        if action == "release" and not fields:
            raise InvalidRequest("Choose the fields that you ask for.")
        statistic = action == "statistic"
        coded = action in ("decide", "explain")
        made = self.institution.request(
            shown.browsed,
            found.id,
            action=action,
            purpose=purpose,
            reason=reason.strip()[:2000],
            fields=tuple(fields) if action == "release" else (),
            computation=asking.computation_from(Chosen(*chosen), found) if statistic else None,
            uses=Uses(count=_whole(uses, "Uses", 1, 10_000), period=period or None),
            hours=hours,
            retention_days=_whole(days, "Days that the result is kept", 0, 3650),
            join_code=join_code.strip() if coded else None,
        )
        shown.request_id = made.request.id
        shown.told["ask"] = (
            panels.done("Asked. The owner decides; the state is below.")
            if made.status == "pending"
            else panels.told(f"The request is {made.status}. {_why(made)}")
        )
        return {**self.view(shown), "reason": "", "mock": "", "join_code": ""}

    # requests

    def choose(self, shown: Shown, request_id: str | None) -> View:
        """Show a request."""
        shown.request_id = request_id or ""
        return {"state": shown, **self._requests(shown), "told_requests": ""}

    def run(self, shown: Shown, request_id: str | None) -> View:
        """Use an approved request once."""
        if not request_id:
            raise OutOfStep("Choose a request first.")
        shown.request_id = request_id
        self.institution.run(request_id)
        shown.told["requests"] = panels.done("Used once; the result is below.")
        return self.view(shown)

    def _requests(self, shown: Shown) -> View:
        requests = tuple(reversed(self.institution.requests()))
        ids = [each.request.id for each in requests]
        if shown.request_id not in ids:
            shown.request_id = ids[0] if ids else ""
        chosen = next((each for each in requests if each.request.id == shown.request_id), None)
        return {
            "requests": own_panels.requests_table(requests),
            "request_box": gr.update(visible=bool(requests)),
            "request_choice": refilled(
                shown,
                "request",
                [(own_panels.request_name(e), e.request.id) for e in requests],
                shown.request_id or None,
            ),
            "request": own_panels.request_panel(chosen) + self._receipt(chosen),
            "run": gr.update(visible=chosen is not None and chosen.status == "active"),
        }

    def _receipt(self, request: RequestView | None) -> str:
        if request is None or request.receipt_id is None:
            return ""
        receipt = self.institution.receipt(request.request.id)
        return panels.receipt_link(receipt, request.request.id)


def _owner_name(session: SessionView) -> str:
    return f"{session.peer or 'owner'}, {panels.session_name(session)}"


def _why(request: RequestView) -> str:
    """Return why a request was denied; the policy's words also say what would be allowed."""
    return request.reason if request.policy_allows else request.policy_words


def _data_set(shown: Shown, data_set: str | None) -> DataSetView | None:
    return next((each for each in shown.found if each.id == data_set), None)


def _required(shown: Shown, data_set: str | None) -> DataSetView:
    found = _data_set(shown, data_set)
    if found is None:
        raise InvalidRequest("Choose a data set first.")
    return found


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if value is None or value != int(value) or not least <= value <= most:
        raise InvalidRequest(f"{name}: give a whole number from {least} to {most}.")
    return int(value)


def inputs_of_ask() -> Sequence[str]:
    """Return the names of the fields that `ask` takes, in order."""
    return (
        *("data_set", "action", "fields", "join_code", "purpose", "reason"),
        *("uses", "period", "hours", "days", *STATISTIC_FIELDS),
    )
