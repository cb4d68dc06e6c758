"""Messages of owners' agents to an institution: each is checked and stored when it arrives.

A message can only change requests of its own session. A permit, a result or a refusal counts only
for a call that was made; which these are is stored with the request, so that a reply that comes
late, also after a restart, is understood.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from parties.governance.calling import Calls, error_of
from parties.governance.calls import (
    Message,
    Outcome,
    PermitGiven,
    Refused,
    RequestStatus,
    Statuses,
)
from parties.governance.institution_book import (
    HeldPermit,
    InstitutionBook,
    KeptRequest,
    KeptResult,
)
from parties.governance.institution_checks import require_permit, with_status
from utils.errors import (
    ConsentMissing,
    NotAuthentic,
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    RequestClosed,
    TrisealError,
    UnknownName,
)

PERMIT_OVER = (
    PermitExpired,
    PermitInvalid,
    PermitSpent,
    RequestClosed,
    ConsentMissing,
    NotAuthentic,
    UnknownName,
)
"""Refusals after which the same permit cannot be brought again."""


class Note(Protocol):
    """Appends a line of activity; without `by` it is the institution's own."""

    def __call__(
        self,
        kind: Any,
        words: str,
        request_id: str | None = None,
        entry: int | None = None,
        by: str = "",
    ) -> None: ...


class Inbox:
    """Stores what owners' agents tell; the caller holds the agent's lock."""

    def __init__(
        self, book: InstitutionBook, calls: Calls, note: Note, clock: Callable[[], float]
    ) -> None:
        self._book, self._calls, self._note, self._clock = book, calls, note, clock

    def take(self, session_id: str, message: Any) -> None:
        """Store what a message says, and give it to the call that waits for it; raises OSError."""
        found: Message | TrisealError = message
        try:
            match message:
                case RequestStatus():
                    self._status(session_id, message)
                case Statuses():
                    for each in message.found:
                        self._status(session_id, each)
                case PermitGiven():
                    self._permit(session_id, message)
                case Outcome():
                    self._outcome(session_id, message)
                case Refused():
                    self._refusal(session_id, message)
        except TrisealError as error:
            found = error
            self._note("failure", error.message)
        self._calls.reply(session_id, message.call, found)

    def _status(self, session_id: str, found: RequestStatus) -> None:
        kept = self._of_session(session_id, found.request_id)
        if kept is None:
            return
        before = None if kept.status is None else kept.status.status
        try:
            self._book.put(found.request_id, with_status(kept, found))
        except TrisealError as error:
            self._book.put(found.request_id, kept.changed(problem=error.message[:1000]))
            self._note("failure", error.message, found.request_id)
            return
        if found.status != before:
            words = f"The request is {found.status}."
            self._note("answer", words, found.request_id, by=kept.peer)

    def _permit(self, session_id: str, given: PermitGiven) -> None:
        for request_id, kept in self._of(session_id):
            if kept.taking is None or kept.taking.call != given.call:
                continue
            kept = kept.changed(taking=None)
            try:
                permit = require_permit(kept, given.permit, self._clock())
                held = HeldPermit(token=given.permit, id=permit.jti, expires=permit.exp)
                kept = kept.changed(permit=held)
            finally:
                self._book.put(request_id, kept)
            words = "A permit for one use was received."
            self._note("permit", words, request_id, by=kept.peer)
            return

    def _outcome(self, session_id: str, found: Outcome) -> None:
        kept = self._of_session(session_id, found.request_id)
        permit = None if kept is None else kept.redeeming.get(found.call)
        if kept is None or permit is None:
            return
        at = int(self._clock())
        result = KeptResult(permit=permit, at=at, entry=found.entry, result=found.result)
        changed = kept.with_result(result)
        if changed is not kept:
            self._book.put(found.request_id, changed)
            words = "The result of one use was received."
            self._note("result", words, found.request_id, found.entry, kept.peer)

    def _refusal(self, session_id: str, found: Refused) -> None:
        error, awaited = error_of(found), self._calls.awaits(session_id, found.call)
        for request_id, kept in self._of(session_id):
            if kept.taking is not None and kept.taking.call == found.call:
                self._book.put(request_id, kept.changed(taking=None))
            elif kept.asked == found.call and kept.status is None and not awaited:
                self._book.put(request_id, kept.changed(refused=error.message[:2000]))
                words = f"The request was refused: {error.message}"
                self._note("failure", words, request_id, by=kept.peer)
            elif found.call in kept.redeeming:
                held = kept.permit
                if held is not None and held.id == kept.redeeming[found.call]:
                    held = None if isinstance(error, PERMIT_OVER) else held
                self._book.put(request_id, kept.changed(permit=held, problem=error.message[:1000]))

    def _of(self, session_id: str) -> list[tuple[str, KeptRequest]]:
        return [each for each in self._book.requests() if each[1].session_id == session_id]

    def _of_session(self, session_id: str, request_id: str) -> KeptRequest | None:
        """Return a request that was made in this session; others are none of its owner's."""
        kept = self._book.find(request_id)
        return kept if kept is not None and kept.session_id == session_id else None
