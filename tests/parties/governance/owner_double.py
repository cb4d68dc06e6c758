"""An owner's agent for tests of the institution: it does as the test says, also what is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from governance import canonical
from governance.categories import OWN_DATA
from governance.datasets import make_data_set
from governance.mock import mock
from governance.permits import Use, issue, require_possession, signed_by
from governance.receipts import Allowed, Receipt, ReceiptEvent
from governance.request_state import Grant
from governance.requests import SignedRequest, Uses
from parties.governance.calls import (
    Ask,
    Browse,
    DataSets,
    GetMock,
    Message,
    Mock,
    Outcome,
    PermitGiven,
    Redeem,
    Refused,
    RequestStatus,
    TakePermit,
)
from parties.governance.sealed_session import SealedSession
from parties.governance.views import DataSetView, GrantView
from parties.joint.identities import IdentityKey
from utils.tokens import new_id

SALARIES = make_data_set(
    "salaries",
    "Monthly salaries",
    {"month": "date", "amount": "integer"},
    [{"month": f"2027-0{n}-01", "amount": 1000 * n} for n in range(1, 7)],
    categories={"amount": "income"},
)
DATA_SET = "ab" * 16
SALARIES_VIEW = DataSetView(
    id=DATA_SET,
    version=1,
    tag="salaries",
    words="Monthly salaries",
    schema_name=OWN_DATA,
    columns=SALARIES.description.columns,
    rows=6,
)
RESULT = {"kind": "mean", "value": 3500.0, "groups": []}


class OwnerDouble:
    """Plays an owner in one session. `handlers` answer a kind of message in place of the usual."""

    def __init__(self, relay, name="Ann"):
        self.relay, self.name = relay, name
        self.key = IdentityKey.fresh()
        self.saved: dict[str, bytes] = {}
        self.session = SealedSession.host(
            relay, self.key, name, self.saved.__setitem__, title="My data"
        )
        self.code = self.session.view.code
        self.handlers: dict[type[Message], Callable[[Any], list[Message]]] = {}
        self.requests: dict[str, Any] = {}
        self.grants: dict[str, Grant] = {}
        self.permits: dict[str, bool] = {}
        """The ids of issued permits, and whether each was used."""
        self.got: list[Message] = []
        self.changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.start()

    def start(self):
        """Start the agent, or start it again with what it saved."""
        self.session = SealedSession.resume(
            self.relay, self.key, self.saved[self.session.session_id], self.saved.__setitem__
        )
        self._thread = threading.Thread(target=self._play, args=(self.session,), daemon=True)
        self._thread.start()

    def stop(self):
        """Stop the agent; what arrives meanwhile waits for it."""
        self.session.stop()
        self.relay.wake()

    def push(self, message):
        """Send something that nobody asked for."""
        self.session.send(message)

    def approve(self, request_id, fields=None, uses=None, **changes):
        """Approve a request and tell of it, with some members of the status changed."""
        request = self.requests[request_id]
        grant = Grant(fields or request.fields, uses or request.uses, request.not_after)
        self.grants[request_id] = grant
        self.push(self.status(request_id, "active", **changes))

    def status(self, request_id, status, call=None, **changes):
        request, grant = self.requests[request_id], self.grants.get(request_id)
        members = {
            "request_id": request_id,
            "status": status,
            "call": call,
            "policy_allows": True,
            "policy_words": "Allowed by research-statistics.",
            "rules": ("research-statistics",),
        }
        if grant is not None:
            members |= {
                "grant": GrantView(fields=grant.fields, uses=grant.uses, not_after=grant.not_after),
                "receipt": self.receipt_of(request, grant),
                "uses_left": 1,
            }
        return RequestStatus(**{**members, **changes})

    def receipt_of(self, request, grant, key=None):
        allowed = Allowed(
            request=request,
            grant=grant,
            policy_version="v7",
            principal=self.name,
            controller=request.requester.name,
            categories={"month": "employment", "amount": "income", "*": "row_count"},
            jurisdiction="loc:EU",
            events=[ReceiptEvent("approved", int(time.time()), self.name)],
        )
        receipt = Receipt.issue(allowed, (key or self.key).private, new_id(), int(time.time()))
        return receipt.to_bytes().decode()

    def permit_of(self, request_id, key=None, **changes):
        request = self.requests[request_id]
        computation = request.computation
        members = {
            "iss": self.name,
            "sub": request.digest,
            "aud": self.name,
            "action": request.action,
            "program": None if computation is None else canonical.digest(computation),
            "fields": self.grants[request_id].fields,
            "requester": bytes.fromhex(request.requester.key),
        }
        return issue((key or self.key).private, Use(**{**members, **changes}), time.time())

    def replies(self, message):
        """Return what a true owner's agent replies."""
        match message:
            case Browse(call=call):
                return [DataSets(call=call, found=(SALARIES_VIEW,))]
            case GetMock(call=call, rows=rows):
                return [Mock(call=call, rows=mock(SALARIES.description, rows).rows)]
            case Ask(call=call, request=text):
                request = SignedRequest.parse(text.encode()).request
                self.requests[request.id] = request
                return [self.status(request.id, "pending", call)]
            case TakePermit(call=call, request_id=request_id):
                token = self.permit_of(request_id)
                claims = signed_by(token, self.key.public)
                self.permits[claims.jti] = False
                return [PermitGiven(call=call, permit=token, expires=claims.exp)]
            case Redeem(call=call, permit=token, signature=signature):
                claims = signed_by(token, self.key.public)
                request = next(r for r in self.requests.values() if r.digest == claims.sub)
                require_possession(
                    claims,
                    bytes.fromhex(request.requester.key),
                    signature,
                    "SESSION",
                    self.session.session_id,
                    token.encode(),
                )
                if self.permits[claims.jti]:
                    return [Refused(call=call, code="permit-spent", message="It was used.")]
                self.permits[claims.jti] = True
                return [Outcome(call=call, request_id=request.id, entry=7, result=RESULT)]
        return []

    def await_message(self, kind, count=1, seconds=20):
        """Return the messages of a kind, once there are so many."""
        with self.changed:
            found = self.changed.wait_for(
                lambda: sum(isinstance(m, kind) for m in self.got) >= count, seconds
            )
            assert found, f"no {kind.__name__} arrived"
            return [m for m in self.got if isinstance(m, kind)]

    def _play(self, session):
        while not (session.over or session._stopped):
            try:
                messages = session.receive(5)
            except Exception:
                if not session.over:
                    time.sleep(0.01)
                continue
            for message in messages:
                with self.changed:
                    self.got.append(message)
                    self.changed.notify_all()
                handler = self.handlers.get(type(message), self.replies)
                for reply in handler(message):
                    session.send(reply)


ALL = Uses(count=10)
