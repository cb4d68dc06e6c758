"""A server with partners, owners' agents on it, and an institution that plays its side by hand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from governance.permits import prove_possession, signed_by
from governance.requests import AccessRequest, Requester, SignedRequest, Uses, new_request_id
from governance.store_key import Secret
from parties.client import ServerClient
from parties.governance.calls import (
    Ask,
    Outcome,
    PermitGiven,
    Redeem,
    Refused,
    RequestStatus,
    TakePermit,
)
from parties.governance.owner import Owner
from parties.governance.sealed_session import SealedSession
from parties.identity_file import make_identity
from parties.joint.identities import IdentityKey
from tests.service.driver import Server, bearer
from utils.errors import TrisealError, error_classes

SECRET = Secret("key_file", b"k" * 32)
USER, BANK = "user_1", "Bank of X"
SALARIES = json.dumps(
    [{"month": f"2027-{m:02d}-01", "amount": 1000 + 10 * m} for m in range(1, 13)]
).encode()
CATEGORIES = {"month": "employment", "amount": "income"}
RECORD = json.dumps(
    {
        "name": "Ada Lovelace",
        "birth_date": "1990-05-31",
        "income": 52_000,
        "account_number": "DE0012345678",
    }
).encode()
MEAN = {"kind": "mean", "column": "amount"}
_T = TypeVar("_T")


class GovernedServer:
    """A server that knows the owner USER and three banks, each with its own key."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "owner"
        owner_key = make_identity(self.home).public.hex()
        owners = {USER: {"key": owner_key, "host": "127.0.0.1", "port": 5001}}
        self.server = Server(folder / "server", owners=json.dumps(owners)).wait()
        self.client = ServerClient(self.server.url, 30)
        self.operator = bearer((self.server.data / "operator_token").read_text())
        self.keys = {name: IdentityKey.fresh() for name in ("bank_1", "bank_2", "bank_3")}
        self.tokens: dict[str, str] = {}
        for name, key in self.keys.items():
            self.tokens[name] = self._register(name, key)

    def register(self, home: Path) -> str:
        """Register the institution of a folder as a bank of its own; return its token."""
        key = make_identity(home)
        return self._register(f"bank_{key.public.hex()[:8]}", key)

    def _register(self, name: str, key: IdentityKey) -> str:
        body = {"partner_id": name, "partner_type": "bank", "key": key.public.hex()}
        made = self.server.http.post("/operator/partners", json=body, headers=self.operator)
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    def logs(self, **filters: Any) -> list[dict[str, Any]]:
        found = self.server.http.get("/logs", params=filters, headers=self.operator)
        assert found.status_code == 200, found.text
        return list(found.json()["items"])

    def stop(self) -> None:
        self.client.close()
        self.server.stop()


class Caller:
    """An institution in one session, whose calls are made as they arrive at the owner."""

    def __init__(self, governed: GovernedServer, owner: Owner, partner: str = "bank_1") -> None:
        self.key, self.owner_name = governed.keys[partner], owner.name
        hosted = owner.host_session()
        assert hosted.code is not None
        self.sealed = SealedSession.connect(
            governed.client,
            self.key,
            BANK,
            lambda _name, _data: None,
            hosted.code,
            governed.tokens[partner],
        )
        self.told: list[RequestStatus] = []
        self.outcomes: list[Outcome] = []
        self._calls = 0
        self._until(lambda: self.sealed.connected or None)

    def ask(self, target: str, **changes: Any) -> RequestStatus:
        """Make a request about a data set; return the owner's agent's first status."""
        request = self.request(target, **changes)
        return self.call(Ask, request=self.signed(request), join_code=None)

    def request(self, target: str, **changes: Any) -> AccessRequest:
        now = int(time.time())
        members = {
            "id": new_request_id(),
            "requester": Requester(name=BANK, key=self.key.public.hex()),
            "owner": self.owner_name,
            "action": "statistic",
            "target": target,
            "fields": ("amount",),
            "purpose": "dpv:CreditChecking",
            "reason": "To check that the income covers the loan.",
            "computation": MEAN,
            "readers": (BANK,),
            "created": now,
            "not_after": now + 3600,
            "uses": Uses(count=3),
            "retention_days": 30,
        }
        return AccessRequest.model_validate({**members, **changes})

    def signed(self, request: AccessRequest) -> str:
        return SignedRequest.sign(request, self.key.private).to_bytes().decode()

    def permit(self, request_id: str) -> str:
        given: PermitGiven = self.call(TakePermit, request_id=request_id)
        return given.permit

    def proof(self, permit: str, key: IdentityKey | None = None) -> str:
        jti = signed_by(permit, bytes.fromhex(self.sealed.view.peer_key or "")).jti
        private = (key or self.key).private
        session = self.sealed.session_id
        return prove_possession(private, jti, "SESSION", session, permit.encode())

    def redeem(self, permit: str, signature: str | None = None) -> Outcome:
        proof = self.proof(permit) if signature is None else signature
        outcome: Outcome = self.call(Redeem, permit=permit, signature=proof)
        return outcome

    def run(self, request_id: str) -> Outcome:
        return self.redeem(self.permit(request_id))

    def send(self, kind: type[Any], **members: Any) -> int:
        self._calls += 1
        self.sealed.send(kind(call=self._calls, **members))
        return self._calls

    def call(self, kind: type[Any], **members: Any) -> Any:
        """Make a call; return its reply, or raise the error that it was refused with."""
        return self.reply(self.send(kind, **members))

    def reply(self, number: int) -> Any:
        found = self._until(lambda: self._taken.pop(number, None))
        if isinstance(found, Refused):
            raise error_classes().get(found.code, TrisealError)(found.message)
        return found

    def until_told(self, request_id: str, status: str) -> RequestStatus:
        """Wait until the owner's agent has told this state of a request."""

        def find() -> RequestStatus | None:
            own = [each for each in self.told if each.request_id == request_id]
            return own[-1] if own and own[-1].status == status else None

        return self._until(find)

    def until_outcome(self, count: int) -> Outcome:
        return self._until(lambda: self.outcomes[-1] if len(self.outcomes) >= count else None)

    _taken: dict[int, Any]

    def _until(self, find: Callable[[], _T | None]) -> _T:
        self._taken = getattr(self, "_taken", {})
        end = time.monotonic() + 30
        while (found := find()) is None:
            assert time.monotonic() < end, "no reply"
            for message in self.sealed.receive(2):
                if isinstance(message, RequestStatus) and message.call is None:
                    self.told.append(message)
                else:
                    self._taken[message.call] = message
                if isinstance(message, Outcome):
                    self.outcomes.append(message)
        return found


def store_salaries(owner: Owner) -> str:
    return owner.store_data(SALARIES, "salaries", "My pay", categories=CATEGORIES).id


def counted(lines: list[dict[str, Any]], request_id: str) -> Mapping[str, int]:
    """Return the number of log entries of each kind about a request."""
    kinds: dict[str, int] = {}
    for line in lines:
        if (line["details"] or {}).get("request_id") == request_id:
            kinds[line["kind"]] = kinds.get(line["kind"], 0) + 1
    return kinds
