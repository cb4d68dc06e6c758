"""The handlers of a data owner's page: each acts on the agent and returns what changes.

A decision names the request that the browser showed when its button was pressed, so that a second
press, or one that is late, cannot answer another request.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from anyio import to_thread

from governance.computations import computation_of, fields_of
from governance.datasets import MOST_BYTES
from governance.requests import Uses
from parties.governance.owner import Owner
from parties.governance.views import DataSetView, RequestView
from ui.consent import panels
from ui.consent.handling import Turn, View, is_outdated, refilled
from ui.consent.words import moment
from ui.owner import panels as owner_panels
from ui.owner.drafts import MOST_SHOWN_COLUMNS, Draft, field_maps, read_draft
from ui.owner.sample_data import samples
from ui.ticks import wait_for
from utils.errors import InvalidRequest, OutOfStep

SECTIONS = ("sessions", "data", "adding", "inbox", "running")
LONGEST_PASTE = 1024 * 1024
"""Characters that can be pasted; a file may be larger."""
RECEIPT = "The receipt is under Your answers."
AS_ASKED = 0
ENDS = {"in 1 hour": 3600, "in 1 day": 86400, "in 7 days": 7 * 86400, "in 30 days": 30 * 86400}
_TAG = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_RUNS = ("approved", "active", "paused")


@dataclass
class Shown:
    """The choices and texts that a browser session shows, as of the agent's serial number `serial`.

    `hosted` is the session whose code is shown; `request_id` is the request in the inbox,
    `less_for` the one that the fields of a smaller approval are for.
    """

    turn: Turn = field(default_factory=Turn)
    serial: int = -1
    rendered: float = 0.0
    hosted: str = ""
    request_id: str = ""
    less_for: str | None = None
    approval: str = ""
    data_set: str = ""
    removing: str = ""
    draft: Draft | None = None
    told: dict[str, str] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)


class OwnerActions:
    """The event handlers of an owner's page."""

    def __init__(self, owner: Owner, deployment: Path) -> None:
        self.owner = owner
        self._samples = samples(deployment)

    def view(self, shown: Shown) -> View:
        """Return everything that depends on the agent, rendered from its current state."""
        with shown.turn:
            return self._view(shown)

    def _view(self, shown: Shown) -> View:
        serial = self.owner.serial  # read first, so that no change is missed
        data_sets, requests = self.owner.data_sets(), self.owner.requests()
        found = {
            "state": shown,
            **self._sessions(shown),
            **self._data(shown, data_sets),
            **self._inbox(shown, requests, {each.id: each for each in data_sets}),
            **self._running(shown, requests, data_sets),
            "activity": panels.activity_list(
                self.owner.activity(),
                "Nothing has happened yet. Every answer and use appears here.",
            ),
            **{f"told_{name}": shown.told.get(name, "") for name in SECTIONS},
        }
        shown.serial, shown.rendered = serial, time.monotonic()
        return found

    async def tick(self, shown: Shown) -> View:
        """Wait for a change of the agent; return what changed."""
        if not await wait_for(lambda: is_outdated(shown, self.owner.serial)):
            return {}
        return await to_thread.run_sync(self.view, shown)

    # sessions

    def host(self, shown: Shown, title: str, hours: float) -> View:
        """Host a session and show its code."""
        session = self.owner.host_session(title.strip()[:100], hours)
        shown.hosted = session.session_id
        return {**self.view(shown), "title": ""}

    def end_session(self, shown: Shown, session_id: str | None) -> View:
        """End a session."""
        if not session_id:
            raise OutOfStep("Choose a session to end.")
        self.owner.end_session(session_id)
        return self.view(shown)

    def hide_code(self, shown: Shown) -> View:
        """Hide the code of the session that was hosted last."""
        shown.hosted = ""
        return self.view(shown)

    def _sessions(self, shown: Shown) -> View:
        sessions = self.owner.sessions()
        hosted = next((each for each in sessions if each.session_id == shown.hosted), None)
        code = hosted.code if hosted and hosted.status == "waiting" and hosted.code else ""
        still = [each for each in sessions if each.status in ("waiting", "connected")]
        choices = [
            (f"{each.peer or 'not connected'}, {panels.session_name(each)}", each.session_id)
            for each in still
        ]
        return {
            "code_row": gr.update(visible=bool(code)),
            "code": code,
            "code_note": owner_panels.code_panel(code),
            "sessions": panels.sessions_table(
                sessions,
                "Institution",
                "No sessions yet. Host one, and give its code to an institution.",
            ),
            "end_row": gr.update(visible=bool(still)),
            "session_choice": refilled(
                shown, "session", choices, choices[-1][1] if choices else None
            ),
        }

    # data

    def read_file(self, shown: Shown, path: str | None) -> View:
        """Read a file that was uploaded, and remove its copy from the disk."""
        if path is None:
            return {"state": shown}
        uploaded = Path(path)
        try:
            with uploaded.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        finally:
            uploaded.unlink(missing_ok=True)
        return self._read(shown, data, uploaded.name[:80])

    def read_text(self, shown: Shown, text: str) -> View:
        """Read JSON that was pasted."""
        if not text.strip():
            raise InvalidRequest("Paste JSON first: an object, or a list of objects.")
        return {**self._read(shown, text.encode(), "The pasted data"), "paste": ""}

    def store(self, shown: Shown, tag: str, words: str, schema_name: str, *categories: str) -> View:
        """Store what was read, under a tag and with a description."""
        draft = shown.draft
        if draft is None:
            raise OutOfStep("Choose a file or paste data first.")
        if not _TAG.fullmatch(tag.strip()):
            raise InvalidRequest(
                "Tag: give a short name of lower case letters, digits, - and _, for example bills."
            )
        mapped = field_maps().get(schema_name)
        categories_of = {
            # The policy knows the fields of its own schemas; the owner classifies the others.
            column.name: mapped.fields.get(column.name, chosen) if mapped else chosen
            for column, chosen in zip(draft.columns, _chosen(draft, categories), strict=True)
        }
        stored = self.owner.store_data(
            draft.data,
            tag.strip(),
            words.strip(),
            categories=categories_of,
            schema_name=schema_name,
            source=draft.source,
        )
        shown.draft, shown.data_set = None, stored.id
        shown.told["adding"] = panels.done(f"Stored and encrypted as {stored.tag}.")
        return {
            **self.view(shown),
            "tag": "",
            "words": "",
            "mock": owner_panels.mock_panel(stored),
            **self._draft(shown),
        }

    def drop_draft(self, shown: Shown) -> View:
        """Forget what was read."""
        shown.draft = None
        return {"state": shown, **self._draft(shown)}

    def use_samples(self, shown: Shown) -> View:
        """Store the sample data."""
        for sample in self._samples:
            self.owner.store_data(
                sample.data,
                sample.tag,
                sample.words,
                categories=sample.categories,
                schema_name=sample.schema_name,
                source="The sample data",
            )
        shown.told["data"] = panels.done("Sample data is stored; all values are invented.")
        return self.view(shown)

    def show_mock(self, shown: Shown, data_set: str | None) -> View:
        """Show invented rows of a data set."""
        shown.data_set, shown.removing = data_set or "", ""
        return {
            "state": shown,
            "mock": owner_panels.mock_panel(self._data_set(shown.data_set)),
            **self._removal(shown),
        }

    def ask_removal(self, shown: Shown, data_set: str | None) -> View:
        """Show what the removal of a data set means, to be confirmed."""
        if not data_set:
            raise OutOfStep("Choose a data set to remove.")
        shown.removing = data_set
        return {"state": shown, **self._removal(shown)}

    def keep(self, shown: Shown) -> View:
        """Give up the removal of a data set."""
        shown.removing = ""
        return {"state": shown, **self._removal(shown)}

    def remove(self, shown: Shown) -> View:
        """Remove the data set whose removal is confirmed."""
        if shown.removing:
            self.owner.remove_data(shown.removing)
        shown.removing = shown.data_set = ""
        return {**self.view(shown), "mock": ""}

    def _read(self, shown: Shown, data: bytes, source: str) -> View:
        shown.draft = read_draft(data, source)
        return {
            "state": shown,
            "told_adding": "",
            **self._draft(shown),
            "schema": shown.draft.schema_name,
        }

    def _draft(self, shown: Shown) -> View:
        draft = shown.draft
        columns = draft.columns if draft else ()
        proposed = draft.proposed if draft else []
        found: View = {
            "draft": owner_panels.draft_panel(draft),
            "draft_box": gr.update(visible=draft is not None),
        }
        for i in range(MOST_SHOWN_COLUMNS):
            found[f"category_{i}"] = (
                gr.update(label=columns[i].name, value=proposed[i], visible=True)
                if i < len(columns)
                else gr.update(visible=False)
            )
        return found

    def _data(self, shown: Shown, data_sets: Sequence[DataSetView]) -> View:
        ids = [each.id for each in data_sets]
        if shown.data_set not in ids:
            shown.data_set = ""
        return {
            "data_sets": panels.data_sets_table(data_sets, "Your store is empty. Add data below."),
            "sample_row": gr.update(visible=not data_sets),
            "chosen_row": gr.update(visible=bool(data_sets)),
            "data_choice": refilled(
                shown, "data", [(each.tag, each.id) for each in data_sets], shown.data_set or None
            ),
            **self._removal(shown),
        }

    def _removal(self, shown: Shown) -> View:
        data_set = self._data_set(shown.removing)
        words = (
            f"Remove {data_set.tag} for good? What was approved on it can no longer be used."
            if data_set
            else ""
        )
        return {
            "confirm_row": gr.update(visible=data_set is not None),
            "confirm": panels.told(words),
        }

    def _data_set(self, data_set: str) -> DataSetView | None:
        if not data_set:
            return None
        return next((each for each in self.owner.data_sets() if each.id == data_set), None)

    # inbox

    def approve(self, shown: Shown, request_id: str) -> View:
        """Approve all that the request asks for."""
        self.owner.approve(_named(request_id))
        return self._answered(shown, request_id, "Approved. " + RECEIPT)

    def approve_less(
        self, shown: Shown, request_id: str, fields: list[str], uses: float, seconds: float
    ) -> View:
        """Approve some of the fields, fewer uses, or an earlier end."""
        asked = self.owner.request(_named(request_id)).request
        if uses is None or uses != int(uses) or not 1 <= uses <= asked.uses.count:
            raise InvalidRequest(f"Uses: give a whole number from 1 to {asked.uses.count}.")
        end = int(time.time() + seconds) if seconds else None
        kept = [name for name in asked.fields if name in fields]
        if asked.action != "release":
            kept = list(asked.fields)
        if not kept:
            raise InvalidRequest("Choose at least one field, or deny the request.")
        if kept == list(asked.fields) and uses == asked.uses.count and end is None:
            raise InvalidRequest(
                "This is all that was asked for. Choose fewer fields, fewer uses or an earlier "
                "end, or press Approve."
            )
        self.owner.approve(
            request_id,
            fields=kept,
            uses=Uses(count=int(uses), period=asked.uses.period),
            not_after=end,
        )
        return self._answered(shown, request_id, "Approved with less. " + RECEIPT)

    def deny(self, shown: Shown, request_id: str, reason: str) -> View:
        """Deny the request for a reason."""
        if not reason.strip():
            raise InvalidRequest("Write a reason: the institution is told why.")
        self.owner.deny(_named(request_id), reason.strip()[:500])
        return self._answered(shown, request_id, "Denied. The institution is told your reason.")

    def step_inbox(self, shown: Shown, request_id: str, by: int) -> View:
        """Show the next or the previous request that waits."""
        waiting = _waiting(self.owner.requests())
        places = [each.request.id for each in waiting]
        if not places:
            shown.request_id = ""
        elif request_id in places:
            shown.request_id = places[(places.index(request_id) + by) % len(places)]
        else:
            shown.request_id = places[0]
        return self.view(shown)

    def _answered(self, shown: Shown, request_id: str, words: str) -> View:
        shown.told["inbox"] = panels.done(words)
        shown.approval = request_id
        waiting = _waiting(self.owner.requests())
        shown.request_id = waiting[0].request.id if waiting else ""
        return self.view(shown)

    def _inbox(
        self, shown: Shown, requests: Sequence[RequestView], data_sets: dict[str, DataSetView]
    ) -> View:
        waiting = _waiting(requests)
        ids = [each.request.id for each in waiting]
        if not shown.request_id and ids:
            shown.request_id = ids[0]
        request = next((r for r in requests if r.request.id == shown.request_id), None)
        place = ids.index(shown.request_id) + 1 if shown.request_id in ids else 0
        pending = request is not None and request.status == "pending"
        others = len(ids) > 1 or bool(ids and not place)
        found: View = {
            "inbox": owner_panels.inbox_panel(
                request, place, len(ids), data_sets.get(request.request.target), time.time()
            )
            if request
            else owner_panels.no_request(first=not requests),
            "inbox_id": request.request.id if request else "",
            "inbox_row": gr.update(visible=pending),
            "previous": gr.update(visible=others),
            "next": gr.update(visible=others),
        }
        if shown.less_for != shown.request_id:
            shown.less_for = shown.request_id
            found |= _less(request) | {"reason": ""}
        return found

    # running approvals

    def choose(self, shown: Shown, request_id: str | None) -> View:
        """Show an answered request."""
        shown.approval = request_id or ""
        return {
            "state": shown,
            **self._running(shown, self.owner.requests(), self.owner.data_sets()),
        }

    def pause(self, shown: Shown, request_id: str | None) -> View:
        """Pause an approval."""
        self.owner.pause(_named(request_id))
        return self.view(shown)

    def resume(self, shown: Shown, request_id: str | None) -> View:
        """Resume an approval."""
        self.owner.resume(_named(request_id))
        return self.view(shown)

    def revoke(self, shown: Shown, request_id: str | None, reason: str) -> View:
        """Revoke an approval for good."""
        self.owner.revoke(_named(request_id), reason.strip()[:500])
        shown.told["running"] = panels.done("Revoked. Nothing more runs on this approval.")
        return {**self.view(shown), "revoke_reason": ""}

    def _running(
        self, shown: Shown, requests: Sequence[RequestView], data_sets: Sequence[DataSetView]
    ) -> View:
        tags = {each.id: each.tag for each in data_sets}
        answered = [each for each in reversed(requests) if each.status != "pending"]
        answered.sort(key=lambda each: each.status not in _RUNS)
        ids = [each.request.id for each in answered]
        if shown.approval not in ids:
            shown.approval = ids[0] if ids else ""
        chosen = next((each for each in answered if each.request.id == shown.approval), None)
        status = chosen.status if chosen else None
        return {
            "running": owner_panels.running_table(answered, tags),
            "running_box": gr.update(visible=bool(answered)),
            "running_choice": refilled(
                shown,
                "running",
                [(owner_panels.approval_name(e, tags), e.request.id) for e in answered],
                shown.approval or None,
            ),
            "approval": owner_panels.approval_panel(chosen) + self._receipt(chosen),
            "pause": gr.update(visible=status == "active"),
            "resume": gr.update(visible=status == "paused"),
            "revoke": gr.update(visible=status in _RUNS),
            "revoke_reason": gr.update(visible=status in _RUNS),
        }

    def _receipt(self, request: RequestView | None) -> str:
        if request is None or request.receipt_id is None:
            return ""
        receipt = self.owner.receipt(request.request.id)
        return panels.receipt_link(receipt, request.request.id)


def _waiting(requests: Sequence[RequestView]) -> list[RequestView]:
    return [each for each in requests if each.status == "pending"]


def _named(request_id: str | None) -> str:
    if not request_id:
        raise OutOfStep("Choose a request first.")
    return request_id


def _chosen(draft: Draft, categories: Sequence[str]) -> list[str]:
    """Return the category of each column: the chosen one, or for further columns the proposed."""
    return [*categories, *draft.proposed[len(categories) :]][: len(draft.columns)]


def _less(request: RequestView | None) -> View:
    """Return the choices of a smaller approval, which begin with all that was asked for."""
    if request is None:
        return {}
    asked = request.request
    left = asked.not_after - time.time()
    ends: list[tuple[str, int]] = [(f"as asked, {moment(asked.not_after)}", AS_ASKED)]
    ends += [(words, seconds) for words, seconds in ENDS.items() if seconds < left]
    return {
        "less_fields": gr.update(
            choices=list(asked.fields),
            value=list(asked.fields),
            visible=asked.action == "release",
        ),
        "less_uses": asked.uses.count,
        "less_end": gr.update(choices=ends, value=AS_ASKED),
        "less_note": panels.note(_less_words(request)),
    }


def _less_words(request: RequestView) -> str:
    asked = request.request
    if asked.action == "statistic" and asked.computation is not None:
        needed = ", ".join(fields_of(computation_of(asked.computation))) or "the number of rows"
        return f"The statistic needs {needed}; uses and end can be less."
    if asked.action != "release":
        return "A decision needs all columns of the record; uses and end can be less."
    return "Choose the fields that may be given, how often, and until when."
