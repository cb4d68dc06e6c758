"""A connected session without HTTP, with a simulated clock, an owner's and a partner's keys."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.sessions import Connected, Hosted, SessionEventRequest, SessionUseRequest
from governance.permits import Use, issue
from service.governance.log import open_log
from service.governance.partners import Caller
from service.sessions.relay import SessionRelay
from service.sessions.session_log import SessionLog
from service.sessions.sessions import Sessions
from service.storage.storage import Storage
from settings import Settings
from tests.service.played import Clock

REQUEST, RECEIPT, PROGRAM = "ab" * 32, "cd" * 32, "ef" * 32


def hex_of(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


@dataclass
class Pair:
    """The services on one storage, and one session between an owner and a bank."""

    storage: Storage
    settings: Settings
    clock: Clock = field(default_factory=Clock)
    owner: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    partner: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def __post_init__(self) -> None:
        open_log(self.storage)
        self.sessions = Sessions(self.storage, self.settings, self.clock)
        self.relay = SessionRelay(self.storage, self.clock)
        self.log = self.server()
        self.hosted, self.connected = self.session()

    @property
    def caller(self) -> Caller:
        return Caller("bank_1", "bank", self.partner.public_key().public_bytes_raw())

    def server(self) -> SessionLog:
        """Return the service of another server on the same database."""
        return SessionLog(self.storage, self.settings, self.clock)

    def host(self, hours: float = 24) -> Hosted:
        return self.sessions.host(hex_of(self.owner), secrets.token_hex(8), hours)

    def session(self, hours: float = 24) -> tuple[Hosted, Connected]:
        hosted = self.host(hours)
        return hosted, self.sessions.connect(hosted.session_id, self.caller, hosted.code)

    def permit(self, seconds: int = 300, key: Ed25519PrivateKey | None = None, **own: Any) -> str:
        claims: dict[str, Any] = {
            "iss": "owner",
            "sub": REQUEST,
            "aud": "bank_1",
            "action": "statistic",
            "program": PROGRAM,
            "fields": ("income",),
            "requester": self.partner.public_key().public_bytes_raw(),
            **own,
        }
        return issue(key or self.owner, Use(**claims), self.clock.now, seconds)

    def use(
        self, permit: str, key: str | None = None, server: SessionLog | None = None, **own: Any
    ) -> int:
        asked = SessionUseRequest(
            permit=permit, receipt=RECEIPT, details={"purpose": "dpv:CreditChecking"}
        ).model_copy(update={"idempotency_key": key})
        session: dict[str, Any] = {
            "session_id": self.hosted.session_id,
            "token": self.hosted.token,
            **own,
        }
        return (server or self.log).use(asked=asked, **session).entry

    def tell(self, server: SessionLog | None = None, token: str | None = None, **own: Any) -> int:
        event: dict[str, Any] = {
            "kind": "revocation",
            "digests": {"request": REQUEST},
            "details": {"reason": "no longer"},
            **own,
        }
        asked = SessionEventRequest.model_validate(event)
        session = (self.hosted.session_id, token or self.hosted.token)
        return (server or self.log).log(*session, asked).entry

    def post(self, side: str, number: int, body: bytes) -> int:
        token = self.hosted.token if side == "owner" else self.connected.token
        return self.relay.post(self.hosted.session_id, token, number, body)

    def read(self, side: str, after: int = 0) -> list[int]:
        token = self.hosted.token if side == "owner" else self.connected.token
        found = self.relay.read(self.hosted.session_id, token, after)
        return [message.number for message in found.items]
