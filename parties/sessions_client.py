"""The calls about sessions between data owners and institutions, for the agents of both.

A call that is safe to repeat is retried for a few seconds if the server is busy or the connection
is lost (parties/retrying.py). Hosting and connecting are not: their responses are shown once.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel

from contract.sessions import (
    LARGEST_SESSION_MESSAGE,
    Connected,
    ConnectRequest,
    Hosted,
    HostRequest,
    Logged,
    SessionEventRequest,
    SessionFacts,
    SessionMessageRequest,
    SessionMessages,
    SessionPosted,
    SessionState,
    SessionUseRequest,
)
from parties.bounded_http import ANSWER_BYTES, BoundedHttp
from parties.retrying import ask_again
from parties.valid_requests import valid
from utils.errors import InvalidRequest, MalformedMessage
from utils.signed_requests import OWNER, authorization

SHORT_SECONDS = 30.0
"""Time limit for a response, in addition to a requested wait."""

_Answer = TypeVar("_Answer", bound=BaseModel)


class SessionsClient(BoundedHttp):
    """A client of the server at `url` for sessions; safe to share between threads.

    Every method raises ServerUnreachable and the errors that the server reports, and InvalidRequest
    before the call if a value is outside the contract's bounds. All calls about an existing session
    raise UnknownName once it is gone.
    """

    def host_session(self, key: Ed25519PrivateKey, hours: float = 24.0) -> Hosted:
        """Host a session for one institution; the call is signed with the owner's key."""
        with valid():
            request = HostRequest(hours=hours, nonce=secrets.token_hex(16))
        content = request.model_dump_json().encode()
        headers = {
            "Authorization": authorization(key, "POST", "/sessions", content, time.time(), OWNER),
            "Content-Type": "application/json",
        }
        more = {"content": content, "headers": headers, "timeout": self._short}
        return self._answer(Hosted, "POST", "/sessions", **more)

    def connect_session(self, session_id: str, partner_token: str, code: str) -> Connected:
        """Connect to a session with its code, which works once, as a registered partner."""
        with valid():
            body = ConnectRequest(code=code).model_dump()
        path = f"{_path(session_id)}/connect"
        more = {"token": partner_token, "json": body, "timeout": self._short}
        return self._answer(Connected, "POST", path, **more)

    def session(self, session_id: str, token: str) -> SessionFacts:
        """Return the state of a session, and the keys of both sides."""
        return self._patient(SessionFacts, "GET", _path(session_id), token=token)

    def post_session_message(self, session_id: str, token: str, number: int, body: bytes) -> int:
        """Post the message of this number, counted from 1 for each side; return the number.

        A repeated message is not stored twice. Raises OutOfStep, AlreadySent, and QuotaExceeded if
        too many messages wait for the other side.
        """
        if len(body) > LARGEST_SESSION_MESSAGE:
            raise InvalidRequest(f"A message has at most {LARGEST_SESSION_MESSAGE} bytes.")
        with valid():
            request = SessionMessageRequest(number=number, body=base64.b64encode(body).decode())
        path = f"{_path(session_id)}/messages"
        more = {"token": token, "json": request.model_dump()}
        return self._patient(SessionPosted, "POST", path, **more).number

    def session_messages(
        self,
        session_id: str,
        token: str,
        after: int = 0,
        wait: float = 0.0,
        seen: SessionState | None = None,
    ) -> SessionMessages:
        """Return the other side's messages above a number, in base64, and the session's state.

        The server removes those up to the number. If there are none above it, the server waits for
        one for `wait` seconds (at most 25), or until the state changes or is not `seen`.
        """
        query: dict[str, Any] = {"after": after, "wait": wait}
        if seen is not None:
            query["seen"] = seen
        path = f"{_path(session_id)}/messages"
        more = {"token": token, "params": query, "timeout": wait + SHORT_SECONDS}
        found = self._patient(SessionMessages, "GET", path, **more)
        numbers = [message.number for message in found.items]
        if numbers != list(range(after + 1, after + 1 + len(numbers))):
            raise MalformedMessage(
                f"The server at {self.url} left out a message of the session, or changed their "
                "order. Read them again; if this persists, host a new session."
            )
        return found

    def close_session(self, session_id: str, token: str) -> None:
        """Close a session for both sides; closing it again is harmless."""
        path = _path(session_id)
        more = {"token": token, "timeout": self._short}
        ask_again(lambda: self._bytes("DELETE", path, ANSWER_BYTES, **more))

    def log_event(self, session_id: str, token: str, event: SessionEventRequest) -> int:
        """Have the server log an event, with the owner's token; return the entry's number.

        Without an idempotency key the event gets one for this call and its retries.
        """
        key = event.idempotency_key or secrets.token_hex(16)
        body = event.model_copy(update={"idempotency_key": key}).model_dump(mode="json")
        path = f"{_path(session_id)}/events"
        return self._patient(Logged, "POST", path, token=token, json=body).entry

    def use_permit(
        self,
        session_id: str,
        token: str,
        permit: str,
        receipt: str,
        details: Mapping[str, Any],
        idempotency_key: str | None = None,
    ) -> int:
        """Have the server mark a permit as used, with the owner's token; return the log's entry.

        `receipt` is the digest of the consent receipt. A call with the idempotency key of the one
        that succeeded returns the same entry, so that an agent that stores the key with the result
        can ask again after a crash; without one, the call gets a key for its own retries. Raises
        PermitSpent, PermitExpired, PermitInvalid and ConsentMissing.
        """
        with valid():
            request = SessionUseRequest(
                permit=permit,
                receipt=receipt,
                details=dict(details),
                idempotency_key=idempotency_key or secrets.token_hex(16),
            )
        path = f"{_path(session_id)}/uses"
        body = request.model_dump(mode="json")
        return self._patient(Logged, "POST", path, token=token, json=body).entry

    def erase_owner(self, key: Ed25519PrivateKey, user_id: str) -> None:
        """Erase the details of the log about the owner with this key, and its sessions.

        `user_id` is that of the server's settings, or `owner:` and the first 32 hexadecimal digits
        of the SHA-256 of the public key.
        """
        target = f"/consents/{user_id}"
        signed = authorization(key, "DELETE", target, b"", time.time(), OWNER)
        headers = {"Authorization": signed}
        self._bytes("DELETE", target, ANSWER_BYTES, headers=headers, timeout=self._short)

    @property
    def _short(self) -> float:
        return min(self.timeout, SHORT_SECONDS)

    def _patient(self, kind: type[_Answer], method: str, path: str, **options: Any) -> _Answer:
        """Make a call that is safe to repeat."""
        options.setdefault("timeout", self._short)
        return ask_again(lambda: self._answer(kind, method, path, **options))


def _path(session_id: str) -> str:
    """Return the path of a session; raises InvalidRequest unless the id is of the right form."""
    if len(session_id) != 32 or not set(session_id) <= set("0123456789abcdef"):
        raise InvalidRequest("A session's id has 32 hexadecimal digits; check the code.")
    return f"/sessions/{session_id}"
