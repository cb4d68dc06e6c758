"""The wait of an exchange: the conditions that a read has not met yet.

The changes after a read are compared with these conditions, so that the application is not read
again for every change.
"""

from __future__ import annotations

from enum import Enum

from contract.http import (
    MAXIMUM_RESULT,
    ApplicationState,
    ExchangeRequest,
    ProgramState,
)
from service.applications.events import Change
from service.applications.relay import Heard


class Effect(Enum):
    """The effect of a change on an exchange that waits."""

    NONE = "none"
    NEWS = "news"
    """It is news for the caller, who gets it after the time to linger."""
    READ = "read"
    """It may end the wait, so the application has to be read."""


class Wait:
    """The conditions of an exchange that the newest read of its application has not met."""

    def __init__(self, request: ExchangeRequest, heard: Heard) -> None:
        found = heard.exchanged
        self._request, self._party = request, heard.party
        self._arrived = {(message.sender, message.step) for message in found.messages}
        awaited = {(one.sender, one.step) for one in request.until}
        self._messages = awaited - self._arrived
        slots = found.state.slots_of(request.until_filled)
        self._slots = {(slot.party, slot.file_name) for slot in slots if slot.sha256 is None}
        run = found.state.programs.get(request.until_ended or "")
        self._run = run is not None and not (run.stopped or _is_checked(found.state, run))
        self._conditions = bool(request.until or request.until_filled or request.until_ended)
        changed = request.seen != "" and found.tag != request.seen
        self.has_news = bool(request.messages or found.messages) or changed
        """True if there is anything that the caller has not seen, awaited or not."""

    @property
    def is_over(self) -> bool:
        """True if everything that the caller waits for is there, or its party has posted."""
        if any(sender == self._party for sender, _ in self._arrived):
            return True
        if not self._conditions:
            return self._request.linger == 0 and self.has_news
        return self._is_met

    @property
    def _is_met(self) -> bool:
        return not (self._messages or self._slots or self._run)

    def note(self, change: Change | None) -> Effect:
        """Take a change into account; returns its effect, which may be that of earlier ones too."""
        if change is None:
            return Effect.READ
        shown = [one for one in change.messages if one.receiver in (None, self._party)]
        own = any(one.sender == self._party for one in change.messages)
        self._messages -= {(one.sender, one.step) for one in shown}
        self._slots -= {change.slot}
        has_news = bool(shown) or (not change.messages and self._request.seen != "")
        if own or (self._is_met if self._conditions else has_news and self._request.linger == 0):
            return Effect.READ
        return Effect.NEWS if has_news else Effect.NONE


def _is_checked(state: ApplicationState, run: ProgramState) -> bool:
    """Return True if the run is done and all witnesses have given their statements on it."""
    return run.status == "done" and all(w.key in run.statements for w in state.witnesses)


def gives_result(request: ExchangeRequest, state: ApplicationState) -> bool:
    """Return True if the response has to have the result of the awaited run."""
    run = state.programs.get(request.until_ended or "")
    if run is None or not request.with_result:
        return False
    return _is_checked(state, run) and (run.result_bytes or 0) <= MAXIMUM_RESULT
