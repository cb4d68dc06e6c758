"""One session on the owner's side: a thread that handles the institution's calls in their order."""

from __future__ import annotations

import logging
import threading
from typing import Any

from governance.access import Partner
from governance.mock import mock
from parties.governance import showing
from parties.governance.answers import receive_request
from parties.governance.calls import (
    Ask,
    Browse,
    GetMock,
    GetStatus,
    Message,
    Mock,
    Outcome,
    Redeem,
    Refused,
    TakePermit,
)
from parties.governance.execution import delivered, finish, give_permit, redeem, undelivered
from parties.governance.judging import Peer
from parties.governance.owner_parts import OwnerParts, is_final
from parties.governance.request_book import Prepared, StoredRequest
from parties.governance.sealed_session import SealedSession
from utils.errors import OutOfStep, ServerBusy, TrisealError

WAIT_SECONDS = 20.0
"""Longest wait of one call to the server for messages."""
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8.0
"""Pauses after an error; they double."""
HANDLING_SECONDS = 5.0
"""Longest wait for a call that is being handled when the agent is closed."""

log = logging.getLogger(__name__)


class OwnerSession:
    """A session and its thread."""

    def __init__(self, parts: OwnerParts, sealed: SealedSession) -> None:
        self.sealed = sealed
        self._parts = parts
        self._stopped = threading.Event()
        self._handling = threading.Lock()
        self._telling = threading.Lock()
        self._untold: set[str] = set()
        name = f"session {sealed.session_id[:8]}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Handle no further call. The session can be resumed."""
        self._stopped.set()

    def finished(self, seconds: float) -> None:
        """Wait at most `seconds` for the call that is being handled; then change nothing more."""
        if self._handling.acquire(timeout=seconds):
            self._handling.release()
        self.sealed.stop()

    def tell(self, request_id: str) -> None:
        """Send the present state of a request to the institution."""
        with self._telling:
            stored = self._parts.book.get(request_id)
            try:
                self.sealed.send(showing.status_of(stored, self._parts.now()))
                self._untold.discard(request_id)
            except ServerBusy:
                self._untold.add(request_id)
            except TrisealError as error:
                log.info("the session %s is told nothing: %s", self.sealed.session_id[:8], error)

    def _run(self) -> None:
        pause, was_connected = PAUSE_SECONDS, self.sealed.connected
        while not (self._stopped.is_set() or self.sealed.over):
            try:
                self._catch_up()
                messages = self.sealed.receive(WAIT_SECONDS)
                pause = PAUSE_SECONDS
            except Exception as error:
                if self.sealed.over or self._stopped.is_set():
                    break
                why = error.message if isinstance(error, TrisealError) else type(error).__name__
                log.info("the session %s waits: %s", self.sealed.session_id[:8], why)
                self._stopped.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            if self.sealed.connected and not was_connected:
                was_connected = True
                words = f"{self.sealed.partner_id} connected as {self.sealed.peer}."
                self._note(self.sealed.partner_id or "", words)
            for message in messages:
                with self._handling:
                    if self._stopped.is_set():
                        return
                    self._handle(message)
        if self.sealed.over:
            failure = self.sealed.failure
            words = f"The session {self.sealed.session_id[:8]} has ended"
            words += f": {failure.message}" if failure is not None else "."
            self._note(self._parts.name, words)

    def _note(self, by: str, words: str) -> None:
        """Note what became of the session, unless the agent was closed meanwhile."""
        with self._handling:
            if not self._stopped.is_set():
                self._parts.note("session", by, words)

    def _catch_up(self) -> None:
        """Deliver pending results, write pending entries of the log, and send pending messages."""
        if not self.sealed.connected:
            return
        with self._handling:
            if self._stopped.is_set():
                return
            for stored, prepared in undelivered(self._parts, self.sealed.session_id):
                self._deliver(stored, prepared)
            for stored in self._parts.book.requests():
                if stored.session_id == self.sealed.session_id and stored.unlogged:
                    with self._parts.book.exclusive(stored.request.id):
                        self._parts.try_log(self._parts.book.get(stored.request.id))
            for request_id in tuple(self._untold):
                self.tell(request_id)

    def _handle(self, message: Any) -> None:
        try:
            reply = self._reply(message)
        except TrisealError as error:
            reply = _refused(message.call, error)
        except Exception as error:
            # Without its text, which may have values of the data.
            log.error("a call of a session failed: %s", type(error).__name__)
            unknown = TrisealError("The owner's agent could not handle the call; see its log.")
            reply = _refused(message.call, unknown)
        if reply is not None:
            self._send(reply)

    def _send(self, reply: Message) -> None:
        try:
            self.sealed.send(reply)
        except TrisealError as error:
            log.info("a reply was not sent: %s", error.message)

    def _reply(self, message: Any) -> Message | None:
        parts, peer = self._parts, self._peer()
        match message:
            case Browse(call=call, words=words, tag=tag):
                with parts.store_lock:
                    found = parts.data_store.search(words=words, tag=tag)
                return showing.data_sets([showing.data_set_view(each) for each in found], call)
            case GetMock(call=call, data_set=data_set, rows=count):
                return _mock(parts, data_set, count, call)
            case Ask(call=call):
                stored = receive_request(parts, peer, message)
                return showing.status_of(stored, parts.now(), call)
            case GetStatus(call=call):
                own = [r for r in parts.book.requests() if r.session_id == peer.session_id]
                return showing.statuses(own, parts.now(), call)
            case TakePermit():
                return give_permit(parts, peer, message)
            case Redeem():
                stored, prepared = redeem(parts, peer, message)
                self._deliver(stored, prepared)
                return None
        raise OutOfStep("The owner's agent does not know this call; use the same release.")

    def _deliver(self, stored: StoredRequest, prepared: Prepared) -> None:
        """Send a result that was marked as used; it stays in the outbox until it has left."""
        request_id = stored.request.id
        with self._parts.book.exclusive(request_id):
            waiting = self._parts.book.get(request_id).prepared(prepared.permit_id)
            if waiting is None:  # it has left by a direct exchange meanwhile
                return
            try:
                finish(self._parts, stored)
                outcome = Outcome(
                    call=prepared.call,
                    request_id=request_id,
                    entry=prepared.entry,
                    result=prepared.result,
                )
                self.sealed.send(outcome)
            except TrisealError as error:
                if not is_final(error) or self._stopped.is_set():
                    log.info("a result waits: %s", error.message)
                    return
                words = f"The result could not be sent, and is lost: {error.message}"
                delivered(self._parts, request_id, prepared.permit_id, words)
                self._send(_refused(prepared.call, error))
                return
            delivered(self._parts, request_id, prepared.permit_id)
        self.tell(request_id)

    def _peer(self) -> Peer:
        sealed, view = self.sealed, self.sealed.view
        if sealed.partner_id is None or sealed.peer_key is None or view.peer_type is None:
            raise OutOfStep("Nobody has connected to this session yet.")
        partner = Partner(id=sealed.partner_id, type=view.peer_type, verified=True)
        return Peer(sealed.session_id, partner, sealed.peer_key, sealed.peer or "")


def _mock(parts: OwnerParts, data_set: str, count: int, call: int) -> Mock:
    """Return invented rows, as many as a message has room for."""
    rows = mock(parts.describe(data_set).description, count).rows
    reply = Mock(call=call, rows=rows)
    while len(reply.model_dump_json().encode()) > showing.ROOM and len(rows) > 1:
        rows = rows[: len(rows) // 2]
        reply = Mock(call=call, rows=rows)
    return reply


def _refused(call: int, error: TrisealError) -> Refused:
    return Refused(call=call, code=error.code, message=error.message[:2000])
