"""Agents of the trial: a client that can tamper, and an institution that can break the rules."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from contract.sessions import SessionMessages, SessionState
from governance.permits import prove_possession, signed_by
from governance.requests import AccessRequest, SignedRequest
from parties.client import ServerClient
from parties.governance.calls import (
    SESSION_METHOD,
    Ask,
    Message,
    Outcome,
    PermitGiven,
    Redeem,
    RequestStatus,
    TakePermit,
)
from parties.governance.exchange_seal import begin_call, open_record
from parties.governance.institution import FOLDER, Institution
from parties.governance.owner import Owner
from parties.governance.sealed_session import SealedSession

Tamper = Callable[[SessionMessages, int], SessionMessages]
"""Changes what the relay delivers; it also gets the number after which messages were asked for."""
CALL_SECONDS = 20.0

_Reply = TypeVar("_Reply", bound=Message)


class TamperingClient(ServerClient):
    """A client whose relay delivers what `tamper` makes of the messages, as a bad server would."""

    tamper: Tamper | None = None

    def session_messages(
        self,
        session_id: str,
        token: str,
        after: int = 0,
        wait: float = 0.0,
        seen: SessionState | None = None,
    ) -> SessionMessages:
        """Return the other side's messages, as `tamper` changes them."""
        short = wait if self.tamper is None else min(wait, 0.2)
        found = super().session_messages(session_id, token, after, short, seen)
        return found if self.tamper is None else self.tamper(found, after)


class Bank(Institution):
    """An institution that keeps all that it is sent, and makes any call that a program can make."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.received: list[str] = []
        """All messages that arrived and all records, in JSON."""
        self.outcomes: list[Outcome] = []
        self.released: list[int | None] = []
        """The log entries of records that came by the direct exchange."""
        self.partner_id = ""
        self.home = Path()

    def call(self, session_id: str, kind: type[_Reply], make: Callable[[int], Message]) -> _Reply:
        """Make a call of any content; return the reply, or raise the error that it met."""
        end = time.monotonic() + CALL_SECONDS
        return self._calls.call(self._session(session_id), kind, make, end)

    def new_permit(self, session_id: str, request_id: str) -> str:
        """Return a new permit for one use, also if there is another one."""
        return self.call(
            session_id, PermitGiven, lambda call: TakePermit(call=call, request_id=request_id)
        ).permit

    def proof(self, session_id: str, permit: str, jti: str) -> str:
        """Return the proof of possession for a permit with this id."""
        private = self._identity.private
        return prove_possession(private, jti, SESSION_METHOD, session_id, permit.encode())

    def bring(self, session_id: str, permit: str, jti: str, signature: str = "") -> Outcome:
        """Redeem a permit in a session; return the outcome, or raise the error that it met."""
        proof = signature or self.proof(session_id, permit, jti)
        return self.call(
            session_id, Outcome, lambda call: Redeem(call=call, permit=permit, signature=proof)
        )

    def ask_again(self, session_id: str, request: AccessRequest) -> RequestStatus:
        """Send a request as it is, signed with this institution's key."""
        signed = SignedRequest.sign(request, self._identity.private).to_bytes().decode()
        return self.call(session_id, RequestStatus, lambda call: Ask(call=call, request=signed))

    def exchange(self, owner: Owner, permit: str, signer: str) -> dict[str, Any]:
        """Bring a permit to the owner's direct exchange; return the record."""
        jti = signed_by(permit, bytes.fromhex(signer)).jti
        opened = begin_call(permit, jti, self._identity.private)
        found = open_record(opened, owner.redeem(opened.to_bytes()), bytes.fromhex(owner.key))
        self.received.append(repr(dict(found.record)))
        self.released.append(found.entry)
        return dict(found.record)

    def token(self) -> str:
        """Return the partner's token at the server."""
        return self._token

    def plain_files(self) -> list[bytes]:
        """Return all that the agent has stored, opened and as it is on the disk."""
        sealed = (self._files.sessions, self._files.requests, self._files.journal)
        return [each.read(name) or b"" for each in sealed for name in each.names()]

    def _take(self, session: SealedSession, message: Message) -> None:
        self.received.append(message.model_dump_json())
        if isinstance(message, Outcome):
            self.outcomes.append(message)
        super()._take(session, message)


def files_of(home: Path) -> list[bytes]:
    """Return the bytes of all files of an institution's folder."""
    return [path.read_bytes() for path in (home / FOLDER).rglob("*") if path.is_file()]
