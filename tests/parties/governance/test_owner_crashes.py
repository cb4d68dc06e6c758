"""An owner's agent that ends in the middle of a use: nothing is half done or used twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parties.governance.calls import Redeem
from parties.governance.owner import Owner
from tests.parties.governance.owner_cases import (
    SECRET,
    Caller,
    GovernedServer,
    counted,
    store_salaries,
)
from tests.parties.running import until
from utils.errors import PermitSpent, ServerUnreachable

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Killed(BaseException):
    """The end of the thread, at the place where the process would end."""


def before(call: Callable[..., int]) -> Callable[..., int]:
    def killed(*_args: Any) -> int:
        raise Killed

    return killed


def after(call: Callable[..., int]) -> Callable[..., int]:
    def killed(*args: Any) -> int:
        call(*args)
        raise Killed

    return killed


def lost(call: Callable[..., int]) -> Callable[..., int]:
    def unanswered(*args: Any) -> int:
        call(*args)
        raise ServerUnreachable("the response was lost")

    return unanswered


def an_approved_request(owner: Owner, governed: GovernedServer) -> tuple[Caller, str]:
    bank = Caller(governed, owner)
    asked = bank.ask(store_salaries(owner))
    owner.approve(asked.request_id)
    return bank, asked.request_id


def redeemed_with_a_lost_response(
    owner: Owner, bank: Caller, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Redeem a permit whose use the server marks, unknown to the owner; return the permit."""
    permit = bank.permit(request_id)
    with monkeypatch.context() as patch:
        patch.setattr(owner, "use_permit", lost(owner.use_permit))
        with pytest.raises(ServerUnreachable):
            bank.redeem(permit)
    return permit


@pytest.mark.parametrize(("where", "uses"), [(before, 0), (after, 1)])
def test_a_killed_owner_delivers_one_result_when_it_is_back(
    governed: GovernedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: Callable[..., Any],
    uses: int,
) -> None:
    owner = Owner.start(tmp_path / "home", governed.client, "ada", SECRET)
    bank, request_id = an_approved_request(owner, governed)
    permit = bank.permit(request_id)
    ended = []

    def killed(*args: Any) -> int:
        try:
            return int(where(Owner.use_permit)(owner, *args))
        finally:
            ended.append(True)

    monkeypatch.setattr(owner, "use_permit", killed)
    bank.send(Redeem, permit=permit, signature=bank.proof(permit))
    until(lambda: ended)
    owner.close()
    assert owner.request(request_id).uses == ()
    assert counted(governed.logs(limit=50), request_id).get("use", 0) == uses
    again = Owner.start(tmp_path / "home", governed.client, "ada", SECRET)
    try:
        outcome = bank.until_outcome(1)
        assert outcome.result["value"] == pytest.approx(1065)
        with pytest.raises(PermitSpent):
            bank.redeem(permit)
        (use,) = again.request(request_id).uses
        assert use.entry == outcome.entry
        assert counted(governed.logs(limit=50), request_id)["use"] == 1
        assert len(bank.outcomes) == 1
    finally:
        again.close()


def test_a_lost_response_of_the_server_costs_no_second_use(
    governed: GovernedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner.start(tmp_path / "home", governed.client, "ada", SECRET)
    bank, request_id = an_approved_request(owner, governed)
    permit = redeemed_with_a_lost_response(owner, bank, request_id, monkeypatch)
    assert bank.outcomes == [], "nothing left while the use was uncertain"
    assert bank.redeem(permit).result["value"] == pytest.approx(1065)
    assert counted(governed.logs(limit=50), request_id)["use"] == 1
    owner.close()


def test_what_was_withdrawn_after_a_crash_is_not_delivered(
    governed: GovernedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner.start(tmp_path / "home", governed.client, "ada", SECRET)
    bank, request_id = an_approved_request(owner, governed)
    permit = redeemed_with_a_lost_response(owner, bank, request_id, monkeypatch)
    owner.revoke(request_id)
    with pytest.raises(Exception, match="revoked"):
        bank.redeem(permit)
    assert bank.outcomes == []
    owner.close()


def test_a_revocation_counts_at_once_and_is_logged_when_the_server_is_back(
    governed: GovernedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner.start(tmp_path / "home", governed.client, "ada", SECRET)
    bank, request_id = an_approved_request(owner, governed)
    permit = bank.permit(request_id)

    def down(*_args: Any) -> int:
        raise ServerUnreachable("down")

    with monkeypatch.context() as patch:
        patch.setattr(owner, "log_event", down)
        assert owner.revoke(request_id).status == "revoked"
        with pytest.raises(Exception, match="revoked"):
            bank.redeem(permit)
    owner.close()
    again = Owner.start(tmp_path / "home", governed.client, "ada", SECRET)
    until(lambda: counted(governed.logs(limit=50), request_id).get("revocation") == 1)
    again.close()


def test_a_book_that_was_put_back_gives_no_second_use(
    governed: GovernedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of the folder knows of no use; the server does."""
    owner = Owner.start(tmp_path / "home", governed.client, "ada", SECRET)
    bank, request_id = an_approved_request(owner, governed)
    permit = bank.permit(request_id)
    book = tmp_path / "home" / "book"
    shutil.copytree(book, tmp_path / "copy")
    assert bank.redeem(permit).result["value"] == pytest.approx(1065)
    owner.close()
    shutil.rmtree(book)
    shutil.copytree(tmp_path / "copy", book)
    again = Owner.start(tmp_path / "home", governed.client, "ada", SECRET)
    assert again.request(request_id).uses == (), "it is the older book"
    with pytest.raises(PermitSpent):
        bank.redeem(permit)
    assert len(bank.outcomes) == 1
    assert counted(governed.logs(limit=50), request_id)["use"] == 1
    monkeypatch.setattr(again, "use_permit", lambda *_: 0)
    assert bank.redeem(permit).result, "the control: without the server's word it is used again"
    again.close()
