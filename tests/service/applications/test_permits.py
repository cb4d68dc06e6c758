"""Nothing runs without a permit of every party whose data it uses, and a permit counts once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import func, select

from contract.http import MAXIMUM_PERMIT, MAXIMUM_PERMITS
from engines.interface import DECIDE, EVALUATION_KEY, EXPLAIN, PROGRAMS, REASONS, SIGN_OF
from governance.permits import Use, issue
from governance.program_permits import parties_of, uses_of
from service.applications.permits import remove_expired
from service.jobs import queue
from service.jobs.queue import Jobs
from service.storage.storage import Storage
from service.storage.tables import PermitRecord
from tests.service.driver import PUBLIC, Application, Server, bearer, refused
from tests.service.played import Played
from tests.service.storages import DATABASES, database_settings, settings_of
from utils.errors import ConsentMissing, PermitExpired, PermitSpent

A, B, C = PUBLIC.schema_.party_names
_ALL = {program: [A, B, C] for program in PROGRAMS}


def queued(application: Application) -> Any:
    """Request the decision without giving any permit."""
    path = f"/applications/{application.client_id}/runs/{DECIDE}"
    return application.server.http.post(path, headers=application.auth())


def use(application: Application, party: str, program: str = DECIDE) -> Use:
    return uses_of(PUBLIC, application.client_id, program, application.sent)[party]


def test_run_without_permits_is_refused_and_says_what_to_do(server: Server) -> None:
    application = server.filled()
    data = {"client_id": application.client_id}
    answer = server.http.post("/run_fhe", data=data, headers=application.auth())
    detail = refused(answer, 403, "consent-missing")
    assert all(party in detail for party in (A, B, C)) and "permit_key" in detail
    assert f"POST /applications/{application.client_id}/permits" in detail
    refused(queued(application), 403, "consent-missing")
    assert application.state()["programs"][DECIDE]["status"] == "idle"


def test_party_without_a_permit_is_named(server: Server) -> None:
    application = server.filled()
    permits = dict(zip((A, B, C), application.permits(), strict=True))
    assert application.give(permits[A], permits[C]).status_code == 204
    assert application.state()["unpermitted"] == _ALL | {DECIDE: [B]}
    detail = refused(queued(application), 403, "consent-missing")
    assert f"no valid permit of {B}. " in detail
    assert application.give(permits[B], party=C).status_code == 204, "any party may deliver it"
    assert application.state()["unpermitted"][DECIDE] == []
    assert queued(application).status_code == 202


def test_permit_is_used_up_by_its_run(server: Server) -> None:
    application = server.filled(b"sleep 60")
    permits = application.permits()
    application.give(*permits)
    assert queued(application).status_code == 202
    assert queued(application).status_code == 202, "the same run"
    assert application.cancel().json()["status"] == "cancelled"
    refused(application.give(*permits), 409, "permit-spent")
    refused(queued(application), 403, "consent-missing")
    assert application.state()["unpermitted"][DECIDE] == [A, B, C]
    assert application.queue().status_code == 202, "with fresh ones"
    application.cancel()


def test_failed_run_needs_new_permits(server: Server) -> None:
    application = server.filled(b"refuse")
    refused(application.run(), 500, "evaluation-failed")
    refused(queued(application), 403, "consent-missing")


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(-301, "permit-expired"), (-300, "permit-expired"), (60, "permit-invalid")],
)
def test_late_and_early_permits_are_refused(server: Server, seconds: float, code: str) -> None:
    application = server.filled()
    refused(application.give(*application.permits(now=time.time() + seconds)), 403, code)
    refused(queued(application), 403, "consent-missing")


@pytest.mark.parametrize(
    "change",
    [
        {"iss": B},
        {"sub": "0" * 32},
        {"aud": "urn:triseal:agent"},
        {"action": EXPLAIN},
        {"program": "0" * 64},
        {"fields": ()},
        {"requester": bytes(32)},
        {"inputs": {}},
    ],
)
def test_permit_for_another_use_is_refused(server: Server, change: dict[str, Any]) -> None:
    application = server.filled()
    text = issue(application.keys.of(A), replace(use(application, A), **change), time.time())
    code = "out-of-step" if change.get("action") == EXPLAIN else "permit-invalid"
    refused(application.give(text), 409 if code == "out-of-step" else 403, code)
    assert A in application.state()["unpermitted"][DECIDE]


def test_permit_for_other_inputs_is_refused(server: Server) -> None:
    application = server.filled()
    permits = application.permits()
    assert application.send(B, payload=b"other bits").status_code == 200
    refused(application.give(*permits), 403, "permit-invalid")


def test_record_replaced_after_the_permits_makes_them_void(server: Server) -> None:
    application = server.filled()
    application.give(*application.permits())
    assert application.send(B, payload=b"other bits").status_code == 200
    assert application.state()["unpermitted"][DECIDE] == [A, B, C]
    refused(queued(application), 403, "consent-missing")
    assert application.queue().status_code == 202, "the control: with permits for the new record"


@pytest.mark.parametrize("program", [EXPLAIN, REASONS])
def test_permit_of_another_program_does_not_count(server: Server, program: str) -> None:
    application = server.filled()
    assert application.explanation().status_code == 200
    assert application.give(*application.permits(program)).status_code == 204
    assert application.state()["unpermitted"] == _ALL | {program: []}
    refused(queued(application), 403, "consent-missing")


def test_permit_of_another_application_is_refused(server: Server) -> None:
    one, other = server.filled(), server.filled()
    refused(other.give(*one.permits()), 403, "permit-invalid")


def test_permit_signed_by_another_party_is_refused(server: Server) -> None:
    application = server.filled()
    for signer in (application.keys.of(B), Ed25519PrivateKey.generate()):
        refused(
            application.give(issue(signer, use(application, A), time.time())), 403, "permit-invalid"
        )
    assert application.state()["unpermitted"][DECIDE] == [A, B, C]


def test_key_of_another_party_cannot_be_registered(server: Server) -> None:
    application = server.open()
    assert application.join(A).status_code == 200
    path = f"/applications/{application.client_id}/join"
    body = {"party": B, "code": application.codes[B], "permit_key": application.keys.public(A)}
    detail = refused(server.http.post(path, json=body), 422, "invalid-request")
    assert "permit_key" in detail
    assert application.join(B).status_code == 200, "the code has not been used"


def test_party_without_a_registered_key_can_permit_nothing(server: Server) -> None:
    application = server.open()
    for party in (A, B):
        application.join(party)
    path = f"/applications/{application.client_id}/join"
    joined = server.http.post(path, json={"party": C, "code": application.codes[C]})
    application.tokens[C] = joined.json()["token"]
    for party in (A, B, C):
        assert application.send(party).status_code == 200
    assert application.send(A, EVALUATION_KEY).status_code == 200
    refused(application.give(*application.permits()), 403, "permit-invalid")
    assert application.give(*application.permits()[:2]).status_code == 204
    assert f"of {C}. " in refused(queued(application), 403, "consent-missing")


@pytest.mark.parametrize(
    "permits",
    [[], ["x"] * (MAXIMUM_PERMITS + 1), ["x" * (MAXIMUM_PERMIT + 1)], [""], [1], "x", None],
)
def test_body_is_bounded(server: Server, permits: object) -> None:
    application = server.joined()
    path = f"/applications/{application.client_id}/permits"
    answer = server.http.post(path, json={"permits": permits}, headers=application.auth())
    refused(answer, 422, "invalid-request")


@pytest.mark.parametrize("text", ["x", "a.b.c", "e30.e30.e30", "\u0000.." * 3])
def test_malformed_permit_is_refused(server: Server, text: str) -> None:
    refused(server.joined().give(text), 403, "permit-invalid")


def test_permits_need_a_token_with_the_scope_send(server: Server) -> None:
    application = server.filled()
    path, body = f"/applications/{application.client_id}/permits", {"permits": ["x"]}
    refused(server.http.post(path, json=body), 401, "not-authorised")
    refused(server.http.post(path, json=body, headers=bearer("x")), 401, "not-authorised")
    other = server.open()
    code = {"party": A, "code": other.codes[A], "scopes": ["run", "relay"]}
    token = server.http.post(f"/applications/{other.client_id}/join", json=code).json()["token"]
    for call in ("permits", "exchange"):
        elsewhere = f"/applications/{other.client_id}/{call}"
        answer = server.http.post(elsewhere, json=body, headers=bearer(token))
        refused(answer, 403, "forbidden-scope")


def test_exchange_brings_permits_and_ignores_those_that_have_been_used(server: Server) -> None:
    application = server.filled(b"sleep 60")
    path, permits = f"/applications/{application.client_id}/exchange", application.permits()

    def exchange(texts: list[str], step: str) -> Any:
        message = {"step": step, "body": "eA=="}
        body = {"permits": texts, "messages": [message]}
        return server.http.post(path, json=body, headers=application.auth())

    found = exchange(permits, "agree:decide")
    assert found.json()["state"]["unpermitted"][DECIDE] == []
    assert queued(application).status_code == 202
    assert exchange(permits, "agree:decide").status_code == 200, "repeated after a lost response"
    application.cancel()
    found = exchange(permits, "agree:decide")
    assert found.json()["state"]["unpermitted"][DECIDE] == [A, B, C]
    late = application.permits(now=time.time() - 301)
    refused(exchange(late, "other"), 403, "permit-expired")
    traffic = server.http.get(
        f"/applications/{application.client_id}/traffic", headers=application.auth()
    ).json()["items"]
    assert "other" not in {item["what"] for item in traffic}, "all or none"


def test_permits_survive_a_restart_of_the_server(start: Callable[..., Server]) -> None:
    before = start().wait().filled()
    assert before.give(*before.permits()).status_code == 204
    before.server.stop()
    after = Application(start().wait(), before.client_id, before.codes, before.tokens, before.keys)
    assert queued(after).status_code == 202


@pytest.fixture(params=DATABASES)
def played(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Played]:
    settings = settings_of(tmp_path / "data", **database_settings(request, request.param))
    storage = Storage(settings)
    yield Played(storage, settings)
    storage.close()


def unspent(played: Played) -> int:
    with played.storage.read() as session:
        own = select(func.count()).where(PermitRecord.job.is_(None))
        return session.scalar(own) or 0


def test_permits_expire_and_are_removed(played: Played) -> None:
    client_id = played.ready().client_id
    token = played.tokens[client_id]
    permits = played.permits_for(client_id)
    played.permits.give(client_id, token, permits)
    played.clock.now += 299
    assert played.applications.look(client_id, token).unpermitted[DECIDE] == ()
    assert remove_expired(played.storage, played.clock.now) == 0
    played.clock.now += 1
    assert played.applications.look(client_id, token).unpermitted[DECIDE] == (A, B, C)
    with pytest.raises(ConsentMissing):
        played.jobs.ask(client_id, token, DECIDE)
    assert unspent(played) == 3
    assert remove_expired(played.storage, played.clock.now) == 3
    assert unspent(played) == 0
    with pytest.raises(PermitExpired):
        played.permits.give(client_id, token, permits)
    played.ask(client_id)


def test_permit_from_a_clock_that_is_ahead_lives_no_longer(played: Played) -> None:
    client_id = played.ready().client_id
    played.clock.now += 5
    permits = played.permits_for(client_id)
    played.clock.now -= 5
    played.permits.give(client_id, played.tokens[client_id], permits)
    played.clock.now += 300
    with pytest.raises(ConsentMissing):
        played.jobs.ask(client_id, played.tokens[client_id], DECIDE)


def test_spent_permits_stay_with_their_run(played: Played) -> None:
    client_id = played.ready().client_id
    state = played.ask(client_id)
    played.clock.now += 301
    remove_expired(played.storage, played.clock.now)
    with played.storage.read() as session:
        kept = session.scalars(select(PermitRecord).order_by(PermitRecord.party)).all()
        assert [(row.party, row.job) for row in kept] == [(p, state.job) for p in sorted((A, B, C))]


def test_newer_permit_replaces_an_unspent_one(played: Played) -> None:
    client_id = played.ready().client_id
    for _ in range(3):
        played.permit(client_id)
    assert unspent(played) == 3


def test_one_set_of_permits_allows_one_run_on_any_of_several_servers(played: Played) -> None:
    client_id = played.ready().client_id
    token = played.tokens[client_id]
    played.permit(client_id)
    servers = [
        Jobs(played.storage, played.public, played.settings, clock=played.clock) for _ in range(4)
    ]
    jobs: set[str | None] = set()

    def run_and_cancel(server: Jobs) -> None:
        try:
            jobs.add(server.ask(client_id, token, DECIDE).job)
            server.cancel(client_id, token, DECIDE)
        except (ConsentMissing, PermitSpent):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run_and_cancel, servers * 6))
    assert len(jobs) == 1


def test_refused_request_spends_no_permit(played: Played) -> None:
    """All that a refused request has changed is rolled back, the spending included."""
    first, second = played.ready().client_id, played.ready().client_id
    played.ask(first)
    full = Jobs(
        played.storage,
        played.public,
        played.settings.model_copy(update={"maximum_queued": 1}),
        clock=played.clock,
    )
    played.permit(second)
    with pytest.raises(Exception, match="queue is full"):
        full.ask(second, played.tokens[second], DECIDE)
    assert unspent(played) == 3
    played.jobs.ask(second, played.tokens[second], DECIDE)


def test_control_without_the_check_a_run_starts_without_permits(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = played.ready().client_id
    with pytest.raises(ConsentMissing):
        played.jobs.ask(client_id, played.tokens[client_id], DECIDE)
    monkeypatch.setattr(queue, "spend", lambda *_: None)
    assert played.jobs.ask(client_id, played.tokens[client_id], DECIDE).status == "queued"


def test_redeployed_model_makes_permits_void(played: Played) -> None:
    client_id = played.ready().client_id
    played.permit(client_id)
    same_version = PUBLIC.model_copy(update={"versions": {"stand_in": "2"}})
    jobs = Jobs(played.storage, same_version, played.settings, clock=played.clock)
    with pytest.raises(ConsentMissing):
        jobs.ask(client_id, played.tokens[client_id], DECIDE)


def test_comparison_is_covered_by_the_permit_of_its_program() -> None:
    assert parties_of(PUBLIC, DECIDE) == (A, B, C)
    assert [parties_of(PUBLIC, name) for name in SIGN_OF.values()] == [()] * 3
