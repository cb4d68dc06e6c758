"""An owner's and an institution's agent together, and races between a use and its revocation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from governance.receipts import Receipt
from governance.requests import Uses
from parties.governance.institution import Institution
from parties.governance.owner import Owner
from parties.governance.views import RequestView
from tests.parties.governance.owner_cases import (
    MEAN,
    RECORD,
    SECRET,
    Caller,
    GovernedServer,
    counted,
    store_salaries,
)
from tests.parties.running import until
from utils.errors import ConsentMissing, RequestClosed, TrisealError

CHECKING: dict[str, Any] = {"purpose": "dpv:CreditChecking", "reason": "For the loan."}


@pytest.fixture(scope="module")
def owner(governed: GovernedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    made = Owner.start(tmp_path_factory.mktemp("owner") / "home", governed.client, "ada", SECRET)
    yield made
    made.close()


@pytest.fixture(scope="module")
def bank(
    governed: GovernedServer, owner: Owner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Institution]:
    home = tmp_path_factory.mktemp("bank") / "home"
    made = Institution.start(home, governed.client, "Bank of X", governed.register(home))
    yield made
    made.close()


@pytest.fixture(scope="module")
def session(owner: Owner, bank: Institution) -> str:
    hosted = owner.host_session("for my bank")
    assert hosted.code is not None
    bank.connect_session(hosted.code)
    until(lambda: owner.sessions()[0].status == "connected")
    view = owner.sessions()[0]
    assert (view.peer, view.peer_key, view.code) == ("Bank of X", bank.key, None)
    return hosted.session_id


def status(bank: Institution, request_id: str, wanted: str) -> RequestView:
    until(lambda: bank.request_view(request_id).status == wanted)
    return bank.request_view(request_id)


def test_the_story_of_a_statistic(
    governed: GovernedServer, owner: Owner, bank: Institution, session: str
) -> None:
    data = store_salaries(owner)
    (found,) = bank.data_sets(session, words="pay")
    assert (found.id, found.rows) == (data, 12)
    mock = bank.mock(session, data, rows=5)
    assert len(mock) == 5 and {"month", "amount"} == mock[0].keys()
    asked = bank.request(
        session, data, action="statistic", computation=MEAN, uses=Uses(count=2), **CHECKING
    )
    (shown,) = owner.requests()
    assert shown.request == asked.request and shown.status == asked.status == "pending"
    with pytest.raises(ConsentMissing):
        bank.run(asked.request.id)
    serial = owner.serial
    owner.approve(asked.request.id)
    assert owner.wait(serial, 0) > serial
    status(bank, asked.request.id, "active")
    Receipt.parse(bank.receipt(asked.request.id), owner.key, asked.request.digest)
    for left in (1, 0):
        assert bank.run(asked.request.id)["value"] == pytest.approx(1065)
        assert owner.request(asked.request.id).uses_left == left
    status(bank, asked.request.id, "used up")
    with pytest.raises(TrisealError):
        bank.run(asked.request.id)
    assert counted(governed.logs(limit=100), asked.request.id)["use"] == 2


def test_the_number_of_rows_and_a_record(owner: Owner, bank: Institution, session: str) -> None:
    data = owner.data_sets(tag="salaries")[0].id
    count = bank.request(
        session, data, action="statistic", computation={"kind": "count"}, **CHECKING
    )
    owner.approve(count.request.id)
    status(bank, count.request.id, "active")
    assert bank.run(count.request.id)["value"] == 12
    record = owner.store_data(RECORD, "record", "Myself", schema_name="personal_record").id
    asked = bank.request(session, record, action="release", fields=("name", "income"), **CHECKING)
    owner.approve(asked.request.id, fields=["income"])
    status(bank, asked.request.id, "active")
    assert bank.run(asked.request.id) == {"income": "40,000–59,999"}
    denied = bank.request(session, record, action="release", fields=("name",), **CHECKING)
    owner.deny(denied.request.id, "not my name")
    assert status(bank, denied.request.id, "denied").reason == "not my name"


def test_both_agents_go_on_after_a_restart(governed: GovernedServer, tmp_path: Path) -> None:
    owner = Owner.start(tmp_path / "owner", governed.client, "ada", SECRET)
    token = governed.register(tmp_path / "bank")
    bank = Institution.start(tmp_path / "bank", governed.client, "Bank of Y", token)
    code = owner.host_session().code
    assert code is not None
    session = bank.connect_session(code).session_id
    data = store_salaries(owner)
    asked = bank.request(session, data, action="statistic", computation=MEAN, **CHECKING)
    owner.close()
    bank.close()
    owner = Owner.start(tmp_path / "owner", governed.client, "ada", SECRET)
    bank = Institution.start(tmp_path / "bank", governed.client, "Bank of Y", token)
    owner.approve(asked.request.id)
    status(bank, asked.request.id, "active")
    assert bank.run(asked.request.id)["value"] == pytest.approx(1065)
    owner.end_session(session)
    until(lambda: bank.sessions()[0].status == "closed")
    bank.close()
    owner.close()


def test_a_revocation_waits_for_a_use_that_has_begun(
    governed: GovernedServer, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller(governed, owner)
    asked = caller.ask(owner.data_sets(tag="salaries")[0].id)
    owner.approve(asked.request_id)
    permit = caller.permit(asked.request_id)
    begun, go = threading.Event(), threading.Event()
    use = owner.use_permit

    def slow(*args: Any) -> int:
        begun.set()
        assert go.wait(20)
        return use(*args)

    monkeypatch.setattr(owner, "use_permit", slow)
    with ThreadPoolExecutor(2) as pool:
        result = pool.submit(caller.redeem, permit)
        assert begun.wait(20)
        revoked = pool.submit(owner.revoke, asked.request_id)
        assert not revoked.done() and owner.request(asked.request_id).status == "active"
        go.set()
        assert result.result(20).result["value"] == pytest.approx(1065)
        assert revoked.result(20).status == "revoked"
    lines = {
        line["kind"]: line["index"]
        for line in governed.logs(limit=50)
        if (line["details"] or {}).get("request_id") == asked.request_id
    }
    assert lines["use"] < lines["revocation"]


def test_of_a_use_and_a_revocation_at_once_one_is_first(
    governed: GovernedServer, owner: Owner
) -> None:
    caller = Caller(governed, owner)
    data, delivered = owner.data_sets(tag="salaries")[0].id, 0
    for _ in range(8):
        asked = caller.ask(data)
        owner.approve(asked.request_id)
        permit = caller.permit(asked.request_id)
        together = threading.Barrier(2)

        def at_once(call: Callable[..., Any], *args: Any, gate: Any = together) -> Any:
            gate.wait()
            return call(*args)

        with ThreadPoolExecutor(2) as pool:
            result = pool.submit(at_once, caller.redeem, permit)
            revoked = pool.submit(at_once, owner.revoke, asked.request_id)
            assert revoked.result().status == "revoked"
            refused = result.exception()
        assert refused is None or isinstance(refused, RequestClosed)
        uses = 0 if refused else 1
        delivered += uses
        assert len(owner.request(asked.request_id).uses) == uses
        assert counted(governed.logs(limit=20), asked.request_id).get("use", 0) == uses
    assert len(caller.outcomes) == delivered


def test_of_an_approval_and_a_denial_at_once_one_counts(
    governed: GovernedServer, owner: Owner
) -> None:
    caller = Caller(governed, owner)
    data = owner.data_sets(tag="salaries")[0].id
    for _ in range(4):
        asked = caller.ask(data)
        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(owner.approve, asked.request_id),
                pool.submit(owner.deny, asked.request_id, "no"),
            ]
            failed = [each.exception() for each in both]
        assert [type(each) for each in failed if each is not None] == [RequestClosed]
        approved = failed[0] is None
        assert owner.request(asked.request_id).status == ("active" if approved else "denied")
        assert counted(governed.logs(limit=20), asked.request_id)["answer"] == 1


def test_another_key_than_the_registered_one_gets_no_session(
    governed: GovernedServer, owner: Owner, tmp_path: Path
) -> None:
    code = owner.host_session().code
    assert code is not None
    thief = Institution.start(
        tmp_path / "thief", governed.client, "Bank of X", governed.tokens["bank_2"]
    )
    assert thief.key != governed.keys["bank_2"].public.hex()
    session = thief.connect_session(code).session_id
    until(lambda: {v.session_id: v.status for v in owner.sessions()}[session] == "closed")
    thief.close()
