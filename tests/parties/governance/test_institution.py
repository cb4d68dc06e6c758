"""An institution believes an owner's agent only what is signed and within its own request."""

from __future__ import annotations

import json
import time

import pytest

from governance.receipts import Receipt
from governance.requests import Uses
from parties.governance import institution as institution_module
from parties.governance import institution_book
from parties.governance.calls import (
    Ask,
    DataSets,
    GetMock,
    Mock,
    Outcome,
    Redeem,
    Refused,
    TakePermit,
)
from parties.governance.exchange_seal import EXCHANGE_CALL
from parties.governance.institution import Institution
from parties.governance.views import GrantView
from parties.identity_file import make_identity
from parties.joint.identities import IdentityKey
from tests.parties.governance.memory_relay import MemoryRelay
from tests.parties.governance.owner_double import DATA_SET, RESULT, OwnerDouble
from utils.errors import (
    AgentUnreachable,
    ComputationInvalid,
    ConsentMissing,
    DataFolderInUse,
    InvalidRequest,
    MalformedMessage,
    OutOfStep,
    PermitInvalid,
    PermitSpent,
    PolicyDenied,
    QuotaExceeded,
    RequestClosed,
    ServerBusy,
    StoreDamaged,
    StoreLocked,
    UnknownDataSet,
    UnknownName,
)
from utils.ports import free_port

MEAN = {"kind": "mean", "column": "amount"}


class Both:
    """An institution in a session with an owner."""

    def __init__(self, home):
        self.home = home
        self.relay = MemoryRelay()
        self.owner = OwnerDouble(self.relay)
        self.token = self.relay.register("bank-x", make_identity(home).public.hex())
        self.bank = self.start()
        self.id = self.bank.connect_session(self.owner.code).session_id

    def start(self):
        self.bank = Institution.start(self.home, self.relay, "Bank of X", self.token)
        return self.bank

    def restart(self):
        self.bank.close()
        self.relay.wake()
        return self.start()

    def ask(self, **changes):
        members = {
            "action": "statistic",
            "purpose": "dpv:CreditChecking",
            "reason": "To check that the income covers the loan.",
            "computation": MEAN,
        }
        return self.bank.request(self.id, DATA_SET, **{**members, **changes})

    def asked(self, **changes):
        return self.ask(**changes).request.id

    def approved(self, uses=None, **changes):
        request_id = self.asked(uses=uses or Uses(count=10), **changes)
        self.owner.approve(request_id)
        self.until(lambda view: view.status == "active", request_id)
        return request_id

    def until(self, condition, request_id, seconds=20):
        """Wait until the view of a request fits; return it."""
        end = time.monotonic() + seconds
        serial = self.bank.serial
        while not condition(view := self.bank.request_view(request_id)):
            assert time.monotonic() < end, "the request did not change as expected"
            serial = self.bank.wait(serial, 1)
        return view

    def close(self):
        self.bank.close()
        self.owner.stop()
        self.relay.wake()


@pytest.fixture
def both(tmp_path):
    found = Both(tmp_path / "bank")
    yield found
    found.close()


def test_the_way_of_a_request(both):
    (view,) = both.bank.data_sets(both.id)
    assert (view.tag, view.rows) == ("salaries", 6)
    assert len(both.bank.mock(both.id, DATA_SET, 5)) == 5
    assert both.bank.try_on_mock(both.id, DATA_SET, MEAN)["kind"] == "mean"
    asked = both.ask(uses=Uses(count=2))
    assert (asked.status, asked.request.fields, asked.peer) == ("pending", ("amount",), "Ann")
    assert asked.words.startswith("Bank of X asks to have the mean of amount of the data set")
    with pytest.raises(ConsentMissing):
        both.bank.run(asked.request.id)
    both.owner.approve(asked.request.id)
    active = both.until(lambda view: view.status == "active", asked.request.id)
    receipt = Receipt.parse(
        both.bank.receipt(asked.request.id), both.owner.key.public.hex(), asked.request.digest
    )
    assert active.receipt_id == receipt.id
    assert both.bank.run(asked.request.id) == RESULT
    view = both.bank.request_view(asked.request.id)
    assert view.results == (RESULT,)
    assert [(use.entry, use.permit) for use in view.uses] == [(7, next(iter(both.owner.permits)))]
    assert [line.kind for line in both.bank.activity()] == [
        "session", "request", "answer", "failure", "answer", "permit", "result"
    ]  # fmt: skip
    (session,) = both.bank.sessions()
    assert (session.status, session.peer_key) == ("connected", both.owner.key.public.hex())


def test_everything_survives_a_restart_and_is_sealed(both):
    request_id = both.approved()
    both.bank.run(request_id)
    before = both.bank.requests(), both.bank.receipt(request_id), both.bank.activity()
    bank = both.restart()
    assert (bank.requests(), bank.receipt(request_id), bank.activity()) == before
    assert bank.run(request_id) == RESULT
    files = [path for path in both.home.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    stored = b"".join(path.read_bytes() for path in files)
    for text in (b"3500", b"income covers", request_id.encode() + b'"', both.token.encode()):
        assert text not in stored


def test_an_owner_that_is_away_is_an_error_and_costs_no_use(both):
    request_id = both.approved()
    both.owner.stop()
    begun = time.monotonic()
    with pytest.raises(AgentUnreachable, match="did not respond in time"):
        both.bank.run(request_id, wait=0.2)
    assert time.monotonic() - begun < 5
    assert both.bank.request_view(request_id).problem is not None
    assert both.bank.request_view(request_id).uses == ()
    both.owner.start()
    assert both.bank.run(request_id) == RESULT
    assert list(both.owner.permits.values()).count(True) == 1


def test_a_permit_that_comes_late_is_used_by_the_next_run(both):
    """Otherwise it would block a request for one use until it expires."""
    request_id = both.approved(Uses(count=1))
    both.owner.stop()
    with pytest.raises(AgentUnreachable):
        both.bank.run(request_id, wait=0.1)
    both.owner.start()
    both.owner.await_message(TakePermit)
    serial = both.bank.serial
    while not any(line.kind == "permit" for line in both.bank.activity()):
        serial = both.bank.wait(serial, 1)
    assert both.restart().run(request_id) == RESULT
    assert list(both.owner.permits.values()) == [True]


def test_a_result_that_comes_late_is_returned_by_the_next_run(both):
    request_id = both.approved(Uses(count=1))
    held = []
    both.owner.handlers[Redeem] = lambda message: held.append(message) or []
    with pytest.raises(AgentUnreachable):
        both.bank.run(request_id, wait=1)
    bank = both.restart()  # the call is known after a restart, too
    both.owner.push(both.owner.replies(held[0])[0])
    both.until(lambda view: view.results == (RESULT,), request_id)
    both.owner.push(both.owner.status(request_id, "used up"))
    both.until(lambda view: view.status == "used up", request_id)
    assert bank.run(request_id) == RESULT
    assert len(both.owner.permits) == 1
    with pytest.raises(RequestClosed):
        bank.run(request_id)


def test_a_permit_is_brought_again_until_the_owner_says_that_it_is_over(both):
    request_id = both.approved()
    both.owner.handlers[Redeem] = lambda message: []
    with pytest.raises(AgentUnreachable):
        both.bank.run(request_id, wait=0.5)
    both.owner.handlers[Redeem] = lambda message: [
        Refused(call=message.call, code="server-unreachable", message="No log.")
    ]
    with pytest.raises(Exception, match="No log"):
        both.bank.run(request_id)
    both.owner.handlers.clear()
    assert both.bank.run(request_id) == RESULT
    first, second, third = both.owner.await_message(Redeem, 3)
    assert first.permit == second.permit == third.permit
    both.owner.handlers[Redeem] = lambda message: []
    with pytest.raises(AgentUnreachable):
        both.bank.run(request_id, wait=0.5)
    both.owner.handlers[Redeem] = lambda message: (
        both.owner.handlers.clear()
        or [Refused(call=message.call, code="permit-expired", message="Too late.")]
    )
    assert both.bank.run(request_id) == RESULT  # with a new permit
    assert len({m.permit for m in both.owner.await_message(Redeem, 6)}) == 3


def test_a_spent_permit_is_not_replaced_silently(both):
    """Another permit would be another use, of which nobody has decided that it is wanted."""
    request_id = both.approved()
    both.owner.handlers[Redeem] = lambda message: [
        Refused(call=message.call, code="permit-spent", message="It was used.")
    ]
    with pytest.raises(PermitSpent):
        both.bank.run(request_id)
    assert len(both.owner.await_message(TakePermit)) == 1


def test_a_result_counts_once_and_only_for_a_call_that_was_made(both):
    request_id = both.approved()
    both.bank.run(request_id)
    (redeemed,) = both.owner.await_message(Redeem)
    forged = {"kind": "mean", "value": 1, "groups": []}
    for call in (redeemed.call, redeemed.call + 1):
        both.owner.push(Outcome(call=call, request_id=request_id, entry=8, result=forged))
    both.owner.push(both.owner.status(request_id, "paused"))
    view = both.until(lambda view: view.status == "paused", request_id)
    assert view.results == (RESULT,) and len(view.uses) == 1
    with pytest.raises(RequestClosed, match="paused"):
        both.bank.run(request_id)


@pytest.mark.parametrize(
    "grant",
    [
        {"fields": ("month", "amount")},
        {"uses": Uses(count=11)},
        {"not_after": int(time.time()) + 10**6},
    ],
)
def test_a_grant_of_more_than_was_asked_for_is_not_used(both, grant):
    request_id = both.asked(uses=Uses(count=10))
    whole = both.bank.request_view(request_id).request
    more = {"fields": whole.fields, "uses": whole.uses, "not_after": whole.not_after, **grant}
    both.owner.approve(request_id, grant=GrantView(**more))
    view = both.until(lambda view: view.problem is not None, request_id)
    assert view.grant is None and view.status == "pending"
    with pytest.raises(ConsentMissing):
        both.bank.run(request_id)


def test_a_receipt_of_another_signer_or_request_or_of_other_fields_is_not_kept(both):
    request_id, other_id = both.asked(fields=("month", "amount")), both.asked()
    both.owner.approve(other_id)
    request, grant = both.owner.requests[request_id], both.owner.grants[other_id]
    for receipt in (
        both.owner.receipt_of(request, grant, IdentityKey.fresh()),
        both.owner.receipt_of(both.owner.requests[other_id], grant),
        both.owner.receipt_of(request, grant),
        "{}",
    ):
        whole = GrantView(fields=request.fields, uses=request.uses, not_after=request.not_after)
        both.owner.push(both.owner.status(request_id, "active", grant=whole, receipt=receipt))
        both.until(lambda view: view.problem is not None, request_id)
        both.owner.push(both.owner.status(request_id, "pending"))
        both.until(lambda view: view.problem is None, request_id)
        with pytest.raises(ConsentMissing):
            both.bank.receipt(request_id)


@pytest.mark.parametrize(
    "change",
    [
        {"key": IdentityKey.fresh()},
        {"sub": "ab" * 32},
        {"iss": "Bob"},
        {"action": "release"},
        {"program": "ab" * 32},
        {"fields": ("month", "amount")},
        {"requester": bytes(32)},
        {"requester": None},
    ],
)
def test_a_permit_for_another_use_is_not_brought(both, change):
    request_id = both.approved()
    wrong = both.owner.permit_of(request_id, **change)
    both.owner.handlers[TakePermit] = lambda message: [
        both.owner.replies(message)[0].model_copy(update={"permit": wrong})
    ]
    with pytest.raises(PermitInvalid):
        both.bank.run(request_id)
    assert not any(isinstance(message, Redeem) for message in both.owner.got)


def test_a_result_that_the_direct_exchange_has_lost_comes_in_the_session(both):
    request_id = both.approved()
    token = both.bank.take_permit(request_id)
    assert both.bank.take_permit(request_id) == token  # no second one
    with pytest.raises(AgentUnreachable, match="does not respond at"):
        both.bank.receive_record("127.0.0.1", free_port(), token)
    both.owner.push(
        Outcome(call=EXCHANGE_CALL, request_id=request_id, entry=9, result={"age": "25–34"})
    )
    both.until(lambda view: view.results != (), request_id)
    assert both.bank.run(request_id) == {"age": "25–34"}
    assert both.bank.run(request_id) == RESULT  # with another permit


def test_a_permit_of_another_institution_or_owner_is_not_brought(both):
    request_id = both.approved()
    other = both.owner.permit_of(request_id, requester=bytes(32))
    with pytest.raises(PermitInvalid):
        both.bank.receive_record("127.0.0.1", 1, other)
    unknown = both.owner.permit_of(request_id, key=IdentityKey.fresh())
    with pytest.raises(InvalidRequest, match="owner_key"):
        both.bank.receive_record("127.0.0.1", 1, unknown)
    with pytest.raises(InvalidRequest, match="owner_key"):
        both.bank.receive_record("127.0.0.1", 1, unknown, owner_key="x")
    mine = both.bank.take_permit(request_id)
    with pytest.raises(InvalidRequest, match="another owner"):
        both.bank.receive_record("127.0.0.1", 1, mine, owner_key="ab" * 32)


def test_a_status_of_another_owners_request_changes_nothing(both):
    request_id = both.asked()
    other = OwnerDouble(both.relay, "Bob")
    session_id = both.bank.connect_session(other.code).session_id
    both.bank.data_sets(session_id)
    other.requests, other.grants = both.owner.requests, both.owner.grants
    other.push(other.status(request_id, "denied", reason="No."))
    mine = both.bank.request(
        session_id, DATA_SET, action="release", purpose="dpv:CreditChecking", reason="Why."
    )  # its reply comes after the forged status
    assert mine.request.fields == ("month", "amount")
    assert both.bank.request_view(request_id).status == "pending"
    other.stop()


def test_a_denial_reaches_the_institution_with_its_reason(both):
    request_id = both.asked()
    both.owner.push(both.owner.status(request_id, "denied", reason="Not for this."))
    assert both.until(lambda view: view.status == "denied", request_id).reason == "Not for this."
    with pytest.raises(ConsentMissing, match="Not for this"):
        both.bank.run(request_id)


def test_a_refused_request_is_the_owners_error_and_is_not_kept(both):
    both.owner.handlers[Ask] = lambda message: [
        Refused(call=message.call, code="policy-denied", message="Marketing is forbidden.")
    ]
    with pytest.raises(PolicyDenied, match="Marketing is forbidden"):
        both.ask()
    assert both.bank.requests() == ()


def test_a_request_reaches_an_owner_that_is_back_later(both):
    both.bank.data_sets(both.id)
    both.owner.stop()
    view = both.ask(wait=0.1)
    assert view.status == "pending" and "when it is back" in view.problem
    both.owner.handlers[Ask] = lambda message: [
        Refused(call=message.call, code="invalid-request", message="Too many fields.")
    ]
    both.owner.start()
    late = both.until(lambda view: view.status == "denied", view.request.id)
    assert late.reason == "Too many fields."


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"purpose": "dpv:Nothing"}, InvalidRequest),
        ({"reason": ""}, InvalidRequest),
        ({"hours": 0}, InvalidRequest),
        ({"computation": None}, InvalidRequest),
        ({"action": "release"}, InvalidRequest),
        ({"action": "decide", "computation": None}, InvalidRequest),
        ({"computation": {"kind": "mean", "column": "month"}}, ComputationInvalid),
        ({"computation": {"kind": "exec"}}, ComputationInvalid),
    ],
)
def test_a_request_that_cannot_be_is_not_sent(both, change, error):
    with pytest.raises(error):
        both.ask(**change)
    assert not any(isinstance(message, Ask) for message in both.owner.got)
    assert both.bank.requests() == ()


def test_unknown_names_are_errors(both):
    with pytest.raises(UnknownName):
        both.bank.data_sets("ab" * 16)
    with pytest.raises(UnknownName):
        both.bank.run("ab" * 16)
    with pytest.raises(UnknownDataSet):
        both.bank.mock(both.id, "cd" * 16)


def test_a_number_of_rows_is_asked_for_without_a_column(both):
    assert both.ask(computation={"kind": "count"}).request.fields == ("*",)


@pytest.mark.parametrize(
    "rows", [({"month": "2027-01-01", "amount": "much"},), ({"amount": 1},), ()]
)
def test_a_mock_that_does_not_fit_is_refused(both, rows):
    both.owner.handlers[GetMock] = lambda message: [Mock(call=message.call, rows=rows)]
    with pytest.raises(MalformedMessage):
        both.bank.try_on_mock(both.id, DATA_SET, MEAN)


def test_a_reply_of_another_kind_is_refused(both):
    both.owner.handlers[GetMock] = lambda message: [DataSets(call=message.call, found=())]
    with pytest.raises(MalformedMessage):
        both.bank.mock(both.id, DATA_SET)


def test_results_are_removed_when_their_time_is_over(both, monkeypatch):
    request_id, at_once = both.approved(retention_days=2), both.approved(retention_days=0)
    assert both.bank.run(request_id) == both.bank.run(at_once) == RESULT
    assert both.bank.request_view(at_once).results == ()
    assert both.bank.request_view(request_id).results == (RESULT,)
    both.bank._clock = lambda: time.time() + 2 * 86400 + 1
    assert both.bank.request_view(request_id).results == ()
    monkeypatch.setattr(institution_module, "PRUNE_SECONDS", 0)
    both.bank.data_sets(both.id)
    both.bank.data_sets(both.id)  # the thread has pruned before it received this reply
    both.bank._clock = time.time
    assert both.bank.request_view(request_id).results == ()
    assert len(both.bank.request_view(request_id).uses) == 1


def test_one_use_of_a_request_at_a_time(both):
    request_id = both.approved()

    def take(message):
        with pytest.raises(ServerBusy):
            both.bank.run(request_id)
        return both.owner.replies(message)

    both.owner.handlers[TakePermit] = take
    assert both.bank.run(request_id) == RESULT


def test_the_end_of_a_session_ends_waiting_calls(both):
    request_id = both.approved()
    both.owner.handlers[TakePermit] = lambda message: both.owner.session.close() or []
    with pytest.raises(OutOfStep):
        both.bank.run(request_id)
    assert both.bank.sessions()[0].status == "closed"
    assert both.bank.receipt(request_id)


def test_a_forged_message_ends_the_session_and_is_reported(both):
    both.bank.data_sets(both.id)
    kept = both.relay.sessions[both.id]
    kept.messages["owner"].append(kept.messages["owner"][-1])
    serial = both.bank.serial
    both.relay.wake()
    while both.bank.sessions()[0].status != "closed":
        serial = both.bank.wait(serial, 1)
    with pytest.raises(Exception, match="cannot be opened"):
        both.bank.data_sets(both.id)


def test_an_unreachable_server_is_named(both):
    both.bank.data_sets(both.id)
    both.relay.set_down(True)
    serial = both.bank.serial
    while not both.bank._calls.failures:
        serial = both.bank.wait(serial, 1)
    view = both.ask(wait=0.2)
    assert "server cannot be reached" in view.problem
    both.relay.set_down(False)
    both.owner.await_message(Ask)
    both.until(lambda view: view.problem is None, view.request.id)


def test_a_folder_is_one_processs_and_its_files_cannot_be_exchanged(both):
    one, other = both.asked(), both.asked()
    with pytest.raises(DataFolderInUse):
        Institution.start(both.home, both.relay, "Bank of X", both.token)
    both.bank.close()
    folder = both.home / "institution"
    first, second = folder / "requests" / one, folder / "requests" / other
    saved = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(StoreDamaged):
        both.start()
    second.write_bytes(saved[:-1])
    with pytest.raises(StoreDamaged):
        both.start()
    second.write_bytes(saved)
    (folder / "key").rename(folder / "elsewhere")
    with pytest.raises(StoreLocked):
        both.start()
    (folder / "elsewhere").rename(folder / "key")
    (folder / "key").chmod(0o644)
    with pytest.raises(StoreLocked):
        both.start()
    (folder / "key").chmod(0o600)
    assert len(both.start().requests()) == 2


def test_the_signed_request_is_what_the_owner_receives(both):
    view = both.ask()
    (asked,) = both.owner.await_message(Ask)
    assert json.loads(asked.request)["proof"]["key"] == both.bank.key
    assert both.owner.requests[view.request.id] == view.request


def test_the_newest_activity_is_kept(both, monkeypatch):
    monkeypatch.setattr(institution_book, "PAGE_LINES", 2)
    monkeypatch.setattr(institution_book, "MOST_PAGES", 3)
    for n in range(20):
        both.bank._note("data", f"line {n}")
    both.bank._tidy()
    words = [line.words for line in both.bank.activity()]
    assert words == [f"line {n}" for n in range(20 - len(words), 20)] and 5 <= len(words) <= 6
    assert [line.words for line in both.restart().activity()] == words
    assert len(list((both.home / "institution" / "journal").iterdir())) == 3


def test_closed_requests_and_ended_sessions_make_room(both, monkeypatch):
    monkeypatch.setattr(institution_book, "MOST_REQUESTS", 2)
    monkeypatch.setattr(institution_module, "MOST_SESSIONS", 2)
    first, second = both.asked(), both.asked()
    with pytest.raises(QuotaExceeded):
        both.ask()
    for request_id in (first, second):
        both.owner.push(both.owner.status(request_id, "denied"))
        both.until(lambda view: view.status == "denied", request_id)
    third = both.asked()
    assert [view.request.id for view in both.bank.requests()] == [second, third]

    both.bank.connect_session(OwnerDouble(both.relay).code)
    with pytest.raises(QuotaExceeded):
        both.bank.connect_session(OwnerDouble(both.relay).code)
    both.bank.end_session(both.id)
    kept = both.bank.connect_session(OwnerDouble(both.relay).code).session_id
    assert both.id not in {view.session_id for view in both.bank.sessions()}
    assert len(list((both.home / "institution" / "sessions").iterdir())) == 2

    # A damaged file of a session ends that session alone.
    both.bank.close()
    (both.home / "institution" / "sessions" / kept).write_bytes(b"TRIBOOK1 cut")
    both.relay.wake()
    assert len(both.start().sessions()) == 1
    assert any("A session was not resumed" in line.words for line in both.bank.activity())
