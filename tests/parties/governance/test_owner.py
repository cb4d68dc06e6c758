"""An owner's agent on a real server: requests are judged, answered, executed once, and logged."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from governance.receipts import Receipt
from governance.requests import Requester, Uses
from parties.governance import execution
from parties.governance.calls import Ask, Redeem, TakePermit
from parties.governance.owner import Owner
from tests.parties.governance.owner_cases import (
    MEAN,
    SECRET,
    Caller,
    GovernedServer,
    counted,
    store_salaries,
)
from utils.errors import (
    ComputationTooNarrow,
    InvalidRequest,
    NotAuthentic,
    PermitInvalid,
    PermitSpent,
    PolicyDenied,
    RequestClosed,
    ServerUnreachable,
    UnknownName,
)


@pytest.fixture(scope="module")
def owner(governed: GovernedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    made = Owner.start(tmp_path_factory.mktemp("agent") / "home", governed.client, "ada", SECRET)
    yield made
    made.close()


@pytest.fixture(scope="module")
def salaries(owner: Owner) -> str:
    return store_salaries(owner)


@pytest.fixture(scope="module")
def bank(governed: GovernedServer, owner: Owner) -> Caller:
    return Caller(governed, owner)


def test_a_statistic_is_asked_for_approved_computed_once_and_logged(
    governed: GovernedServer, owner: Owner, bank: Caller, salaries: str
) -> None:
    asked = bank.ask(salaries, uses=Uses(count=1))
    assert (asked.status, asked.policy_allows) == ("pending", True)
    with pytest.raises(RequestClosed):
        bank.permit(asked.request_id)
    view = owner.request(asked.request_id)
    assert "mean of amount" in view.words and "to assess creditworthiness" in view.words
    owner.approve(asked.request_id)
    told = bank.until_told(asked.request_id, "active")
    receipt = Receipt.parse((told.receipt or "").encode(), owner.key, view.request.digest)
    assert receipt.to_bytes() == owner.receipt(asked.request_id)
    permit = bank.permit(asked.request_id)
    outcome = bank.redeem(permit)
    assert outcome.result["value"] == pytest.approx(1065)
    for again in (permit, permit):
        with pytest.raises(PermitSpent):
            bank.redeem(again)
    view = owner.request(asked.request_id)
    assert (view.status, view.uses_left, len(view.uses)) == ("used up", 0, 1)
    assert view.uses[0].entry == outcome.entry
    assert counted(governed.logs(limit=50), asked.request_id) == {
        "request": 1,
        "answer": 1,
        "permit": 1,
        "use": 1,
    }
    assert {"request", "answer", "permit", "use", "result"} <= {
        line.kind for line in owner.activity() if line.request_id in (asked.request_id, None)
    }


def test_what_the_policy_forbids_is_denied_at_once(
    governed: GovernedServer, owner: Owner, bank: Caller, salaries: str
) -> None:
    asked = bank.ask(salaries, purpose="dpv:Marketing")
    assert (asked.status, asked.policy_allows) == ("denied", False)
    with pytest.raises(RequestClosed):
        owner.approve(asked.request_id)
    assert counted(governed.logs(status="denied"), asked.request_id) == {"answer": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "\u202eeerf si sihT"},
        {"reason": "For the loan.\u2028Approved by the policy."},
        {"reason": "For the loan.\u200b"},
        {"reason": "For the loan." + "\n" * 1900 + "And for marketing."},
        {"reason": "For the loan.\r\x1b[2J"},
        {"readers": ("Bank of X", "Bro\u202eker")},
        {"requester": "Ministry of Finance"},
        {"target_filter": "North\u2066"},
    ],
)
def test_a_request_that_people_would_misread_is_refused(
    owner: Owner, bank: Caller, salaries: str, changes: dict[str, Any]
) -> None:
    if name := changes.pop("requester", None):
        changes = {"requester": Requester(name=name, key=bank.key.public.hex())}
    if value := changes.pop("target_filter", None):
        one = {"column": "place", "op": "==", "value": value}
        changes = {"computation": {**MEAN, "filters": [one]}, "fields": ("amount", "place")}
    target = _places(owner) if "computation" in changes else salaries
    known = len(owner.requests())
    with pytest.raises(InvalidRequest):
        bank.ask(target, **changes)
    assert len(owner.requests()) == known


def test_the_words_of_a_request_name_all_readers_and_quote_its_texts(
    owner: Owner, bank: Caller
) -> None:
    value = 'North" of the data set x to do nothing, once, until tomorrow'
    one = {"column": "place", "op": "==", "value": value}
    asked = bank.ask(
        _places(owner),
        computation={**MEAN, "filters": [one]},
        fields=("amount", "place"),
        readers=("Bank of X", "Broker"),
        reason="For the loan.\n\u0627\u0644\u0642\u0631\u0636 \u2705",
    )
    words = owner.request(asked.request_id).words
    assert 'where place is "North\\" of the data set' in words
    assert words.endswith('The result would also be read by "Broker".')


def _places(owner: Owner) -> str:
    found = owner.data_sets(tag="places")
    if found:
        return found[0].id
    rows = json.dumps([{"amount": 1000 + n, "place": "NS"[n % 2]} for n in range(30)]).encode()
    of = {"amount": "income", "place": "employment"}
    return owner.store_data(rows, "places", "", categories=of).id


def test_less_is_approved_and_never_more(owner: Owner, bank: Caller, salaries: str) -> None:
    asked = bank.ask(salaries, fields=("amount", "month"))
    with pytest.raises(InvalidRequest):
        owner.approve(asked.request_id, uses=Uses(count=4))
    with pytest.raises(InvalidRequest):
        owner.approve(asked.request_id, fields=["month"])
    owner.approve(asked.request_id, fields=["amount"], uses=Uses(count=1))
    told = bank.until_told(asked.request_id, "active")
    assert told.grant is not None and told.grant.fields == ("amount",)
    bank.run(asked.request_id)
    with pytest.raises(RequestClosed):
        bank.permit(asked.request_id)


def test_denial_pause_and_revocation_stop_what_has_not_run(
    governed: GovernedServer, owner: Owner, bank: Caller, salaries: str
) -> None:
    asked = bank.ask(salaries)
    owner.deny(asked.request_id, "not now")
    assert bank.until_told(asked.request_id, "denied").reason == "not now"
    asked = bank.ask(salaries)
    owner.approve(asked.request_id)
    permit = bank.permit(asked.request_id)
    owner.pause(asked.request_id)
    for call in (lambda: bank.redeem(permit), lambda: bank.permit(asked.request_id)):
        with pytest.raises(RequestClosed):
            call()
    owner.resume(asked.request_id)
    assert bank.redeem(permit).result["value"] == pytest.approx(1065), "the control"
    permit = bank.permit(asked.request_id)
    owner.revoke(asked.request_id, "changed my mind")
    with pytest.raises(RequestClosed):
        bank.redeem(permit)
    kinds = counted(governed.logs(limit=50), asked.request_id)
    assert kinds == {"request": 1, "answer": 3, "permit": 2, "use": 1, "revocation": 1}


def test_an_approval_stands_until_it_is_paused_revoked_or_over(
    owner: Owner, bank: Caller, salaries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no decision is agreed to later whose use has begun."""
    parts = owner._parts
    asked = bank.ask(salaries, uses=Uses(count=2))
    stands = partial(execution._stands, parts, asked.request_id)
    assert not stands()
    owner.approve(asked.request_id)
    bank.run(asked.request_id)
    assert stands()
    owner.pause(asked.request_id)
    assert not stands()
    owner.resume(asked.request_id)
    assert stands()
    with monkeypatch.context() as patch:
        patch.setattr(type(parts), "now", lambda _: bank.request(salaries).not_after + 1)
        assert not stands()
    owner.revoke(asked.request_id)
    assert not stands()
    assert not execution._stands(parts, "f" * 32)


def test_a_permit_counts_for_its_requester_request_and_content_alone(
    governed: GovernedServer, owner: Owner, bank: Caller, salaries: str
) -> None:
    asked = bank.ask(salaries)
    owner.approve(asked.request_id)
    permit = bank.permit(asked.request_id)
    stranger = Caller(governed, owner, "bank_2")
    with pytest.raises(PermitInvalid):
        bank.redeem(permit, bank.proof(permit, stranger.key))
    with pytest.raises(PermitInvalid):
        bank.redeem(permit[:-6] + "AAAAAA", bank.proof(permit))
    with pytest.raises(UnknownName):
        stranger.call(Redeem, permit=permit, signature=stranger.proof(permit))
    with pytest.raises(Exception, match="another session"):
        stranger.call(TakePermit, request_id=asked.request_id)
    altered = json.loads(bank.signed(bank.request(salaries)))
    altered["fields"] = ["amount", "month"]
    with pytest.raises(NotAuthentic):
        bank.call(Ask, request=json.dumps(altered), join_code=None)
    other = stranger.request(salaries)
    with pytest.raises(NotAuthentic):
        bank.call(Ask, request=stranger.signed(other), join_code=None)
    assert owner.request(asked.request_id).uses == ()
    assert bank.redeem(permit).result["value"] == pytest.approx(1065), "the control"


def test_too_few_rows_spend_nothing(owner: Owner, bank: Caller, salaries: str) -> None:
    narrow = {**MEAN, "filters": [{"column": "amount", "op": ">", "value": "1100"}]}
    asked = bank.ask(salaries, computation=narrow)
    owner.approve(asked.request_id)
    permit = bank.permit(asked.request_id)
    with pytest.raises(ComputationTooNarrow):
        bank.redeem(permit)
    view = owner.request(asked.request_id)
    assert view.uses == () and "not spent" in (view.problem or "")


def test_two_results_that_differ_by_few_rows_are_refused(
    owner: Owner, bank: Caller, governed: GovernedServer
) -> None:
    rows = json.dumps([{"amount": 1000 + n} for n in range(30)]).encode()
    data = owner.store_data(rows, "many", "", categories={"amount": "income"}).id

    def below(bound: int, caller: Caller = bank) -> str:
        one = {**MEAN, "filters": [{"column": "amount", "op": "<", "value": str(bound)}]}
        asked = caller.ask(data, computation=one)
        owner.approve(asked.request_id)
        return asked.request_id

    bank.run(below(1015))
    with pytest.raises(ComputationTooNarrow):
        bank.run(below(1016))
    accomplice = Caller(governed, owner, "bank_3")
    with pytest.raises(ComputationTooNarrow):
        accomplice.run(below(1016, accomplice))
    assert accomplice.run(below(1015, accomplice)).result["value"], "the control: the same rows"
    assert bank.run(below(1022)).result["value"], "the control: it differs by seven rows"


def test_two_sessions_at_once_get_no_difference_of_few_rows(
    owner: Owner, governed: GovernedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second is judged while the first has its result and is not marked yet."""
    rows = json.dumps([{"amount": 1000 + n} for n in range(30)]).encode()
    data = owner.store_data(rows, "racing", "", categories={"amount": "income"}).id
    callers = [Caller(governed, owner), Caller(governed, owner)]
    permits = []
    for caller, bound in zip(callers, (1015, 1016), strict=True):
        one = {**MEAN, "filters": [{"column": "amount", "op": "<", "value": str(bound)}]}
        asked = caller.ask(data, computation=one)
        owner.approve(asked.request_id)
        permits.append(caller.permit(asked.request_id))
    begun, go, use = threading.Event(), threading.Event(), owner.use_permit

    def slow(*args: Any) -> int:
        begun.set()
        assert go.wait(20)
        return use(*args)

    monkeypatch.setattr(owner, "use_permit", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(callers[0].redeem, permits[0])
        assert begun.wait(20)
        with pytest.raises(ComputationTooNarrow):
            callers[1].redeem(permits[1])
        go.set()
        assert first.result(20).result["value"], "the control"


def test_an_unreachable_server_changes_nothing_of_an_approval(
    owner: Owner, bank: Caller, salaries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = bank.ask(salaries)
    with monkeypatch.context() as patch:

        def down(*_args: object) -> int:
            raise ServerUnreachable("down")

        patch.setattr(owner, "log_event", down)
        with pytest.raises(ServerUnreachable):
            owner.approve(asked.request_id)
    view = owner.request(asked.request_id)
    assert view.status == "pending" and view.receipt_id is None
    owner.approve(asked.request_id)
    with monkeypatch.context() as patch:
        patch.setattr(owner, "log_event", down)
        with pytest.raises(ServerUnreachable):
            bank.permit(asked.request_id)
    assert owner.request(asked.request_id).uses_left == 3, "a permit that nobody got holds no use"
    with monkeypatch.context() as patch:
        patch.setattr(owner, "use_permit", down)
        permit = bank.permit(asked.request_id)
        with pytest.raises(ServerUnreachable):
            bank.redeem(permit)
    assert owner.request(asked.request_id).uses == ()
    assert bank.redeem(permit).result["value"] == pytest.approx(1065)
    assert owner.request(asked.request_id).problem is None


def test_rates_of_the_policy_hold_for_a_partner(
    governed: GovernedServer, owner: Owner, salaries: str
) -> None:
    busy = Caller(governed, owner, "bank_2")
    asked = busy.ask(salaries, uses=Uses(count=100))
    owner.approve(asked.request_id)
    for _ in range(20):
        busy.permit(asked.request_id)
    with pytest.raises(PolicyDenied):
        busy.permit(asked.request_id)
