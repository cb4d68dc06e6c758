"""The server's calls about sessions, in memory, for tests of the agents."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import get_args

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.governance import PartnerKind
from contract.sessions import (
    MOST_SESSION_MESSAGES,
    Connected,
    Hosted,
    SessionFacts,
    SessionMessage,
    SessionMessages,
    SessionSide,
    SessionState,
)
from utils.errors import AlreadySent, NotAuthorised, OutOfStep, ServerUnreachable, UnknownName

_OTHER: dict[SessionSide, SessionSide] = {"owner": "institution", "institution": "owner"}


@dataclass
class Partner:
    """A registered partner, found by its token."""

    id: str
    key: str
    type: PartnerKind = "bank"


@dataclass
class Kept:
    """A session as the server keeps it."""

    owner_key: str
    code: str | None
    expires: datetime
    tokens: dict[str, SessionSide]
    partner: Partner | None = None
    state: SessionState = "waiting"
    messages: dict[SessionSide, list[bytes]] = field(
        default_factory=lambda: {"owner": [], "institution": []}
    )


class MemoryRelay:
    """The relay of the server, without its limits. A test may alter what it stores.

    `down` has every call fail as if the server could not be reached. `change` is called with the
    side that reads and its messages, and returns those that it is given instead.
    """

    def __init__(self) -> None:
        self.sessions: dict[str, Kept] = {}
        self.partners: dict[str, Partner] = {}
        self.down = False
        self.change: Callable[[SessionSide, SessionMessages], SessionMessages] | None = None
        self.posts: list[tuple[SessionSide, int]] = []
        self._changed = threading.Condition()

    def register(self, partner_id: str, key: str, kind: str = "bank") -> str:
        """Register an institution and return its token."""
        token = secrets.token_urlsafe(16)
        known = next(each for each in get_args(PartnerKind) if each == kind)
        self.partners[token] = Partner(partner_id, key, known)
        return token

    def host_session(self, key: Ed25519PrivateKey, hours: float) -> Hosted:
        self._reach()
        session_id, token, code = (secrets.token_hex(16) for _ in range(3))
        expires = datetime.now(UTC) + timedelta(hours=hours)
        owner = key.public_key().public_bytes_raw().hex()
        self.sessions[session_id] = Kept(owner, code, expires, {token: "owner"})
        return Hosted(session_id=session_id, token=token, code=code, expires_at=expires.isoformat())

    def connect_session(self, session_id: str, partner_token: str, code: str) -> Connected:
        self._reach()
        kept, partner = self._kept(session_id), self.partners.get(partner_token)
        if partner is None or kept.code != code:
            raise NotAuthorised("The code or the token is wrong, or the code was used.")
        token = secrets.token_hex(16)
        with self._changed:
            kept.code, kept.partner, kept.state = None, partner, "connected"
            kept.tokens[token] = "institution"
            self._changed.notify_all()
        return Connected(
            session_id=session_id,
            token=token,
            owner_key=kept.owner_key,
            expires_at=kept.expires.isoformat(),
        )

    def session(self, session_id: str, token: str) -> SessionFacts:
        self._reach()
        kept, _ = self._side(session_id, token)
        partner = kept.partner
        return SessionFacts(
            session_id=session_id,
            state=kept.state,
            owner_key=kept.owner_key,
            partner_id=partner and partner.id,
            partner_type=partner and partner.type,
            partner_key=partner and partner.key,
            expires_at=kept.expires.isoformat(),
        )

    def post_session_message(self, session_id: str, token: str, number: int, body: bytes) -> int:
        self._reach()
        kept, side = self._side(session_id, token)
        with self._changed:
            if kept.state in ("closed", "expired"):
                raise OutOfStep("The session is closed.")
            stored = kept.messages[side]
            if number <= len(stored):
                if stored[number - 1] != body:
                    raise AlreadySent("Another message of this number is stored.")
            elif number > len(stored) + 1:
                raise OutOfStep("A message is missing.")
            else:
                stored.append(body)
                self._changed.notify_all()
            self.posts.append((side, number))
        return number

    def session_messages(
        self,
        session_id: str,
        token: str,
        after: int = 0,
        wait: float = 0.0,
        seen: SessionState | None = None,
    ) -> SessionMessages:
        self._reach()
        kept, side = self._side(session_id, token)
        other, state = _OTHER[side], seen or kept.state
        with self._changed:
            self._changed.wait_for(
                lambda: len(kept.messages[other]) > after or kept.state != state or self.down, wait
            )
            self._reach()
            bodies = kept.messages[other][after:][:MOST_SESSION_MESSAGES]
            items = [
                SessionMessage(number=after + 1 + n, body=base64.b64encode(body).decode())
                for n, body in enumerate(bodies)
            ]
            found = SessionMessages(state=kept.state, items=items)
        return found if self.change is None else self.change(side, found)

    def close_session(self, session_id: str, token: str) -> None:
        self._reach()
        kept, _ = self._side(session_id, token)
        with self._changed:
            kept.state = "closed"
            self._changed.notify_all()

    def set_down(self, down: bool) -> None:
        """Make the server unreachable, or reachable again; waiting calls fail at once."""
        with self._changed:
            self.down = down
            self._changed.notify_all()

    def wake(self) -> None:
        """End nothing, but let waiting calls look again; for a test that altered the state."""
        with self._changed:
            self._changed.notify_all()

    def _reach(self) -> None:
        if self.down:
            error = ServerUnreachable("The server cannot be reached.")
            error.__cause__ = httpx.ConnectError("connection refused")
            raise error

    def _kept(self, session_id: str) -> Kept:
        if session_id not in self.sessions:
            raise UnknownName("There is no such session.")
        return self.sessions[session_id]

    def _side(self, session_id: str, token: str) -> tuple[Kept, SessionSide]:
        kept = self._kept(session_id)
        if token not in kept.tokens:
            raise NotAuthorised("The token is not one of this session.")
        return kept, kept.tokens[token]


def until(condition: Callable[[], bool], changed: Callable[[], None], seconds: float = 20) -> None:
    """Call `changed`, which waits for something, until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the condition did not come true")
        changed()
