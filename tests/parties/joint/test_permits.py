"""A party's process permits the runs that its person has agreed to, for as long as they wait."""

from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select, update

from engines.interface import DECIDE, EXPLAIN, REASONS
from governance.canonical import canonical, digest
from governance.permits import signed_by
from governance.policy import Policies
from governance.receipts import Receipt
from governance.requests import AccessRequest
from parties.agent import ApplicationAgent
from parties.client import ServerClient
from parties.joint import member, member_state
from parties.log_watch import FAULT_FILE, LogWatch
from service.storage.tables import PermitRecord
from tests.parties.running import until
from utils.errors import ConsentMissing, LogInconsistent, OutOfStep

A, B, C = "applicant", "bank", "credit_agency"


@pytest.fixture
def members(group):
    """Return members whose records have arrived, on a server that computes only when asked."""
    made = group().pump().send().pump()
    for name in made.names:
        made.connections[name].client.holds = True
    return made


def status(members, name=A):
    return members[name].state.programs[DECIDE].status


def rows(members):
    with members.server.storage.read() as session:
        own = PermitRecord.client_id == members.opening.client_id
        return session.scalars(select(PermitRecord).where(own)).all()


def expire(members, party):
    """Let the party's permit expire on the server."""
    with members.server.storage.write() as session:
        own = PermitRecord.client_id == members.opening.client_id
        over = update(PermitRecord).where(own, PermitRecord.party == party)
        session.execute(over.values(expires=time.time()))


def calls_of(members, name):
    """Count the calls to the server of one party."""
    client, made = members.connections[name].client, []
    whole = client.exchange

    def exchange(*arguments):
        made.append(arguments)
        return whole(*arguments)

    client.exchange = exchange
    return made


def test_permit_is_in_the_request_that_brings_the_agreement(members):
    made = calls_of(members, A)
    members[A].agree(DECIDE)
    (first, *_) = made
    assert [step for step, *_ in first[2]] == ["agree:decide"] and len(first[5]) == 1
    assert [(row.party, row.program, row.job) for row in rows(members)] == [(A, DECIDE, None)]
    assert members[A].permits_runs


def test_no_permit_is_issued_without_the_persons_agreement(members):
    for name in (A, B):
        members[name].agree(DECIDE)
    members.pump()
    assert {row.party for row in rows(members)} == {A, B}
    assert not members[C].permits_runs
    with pytest.raises(OutOfStep):
        members[C].own.protocol.permit(DECIDE, time.time())
    assert members[A].state.unpermitted[DECIDE] == (C,)


def test_run_spends_the_permits_of_all_parties(members):
    members.agree(DECIDE).pump()
    assert status(members) == "queued"
    (job,) = {row.job for row in rows(members)}
    assert job == members[A].state.programs[DECIDE].job and len(rows(members)) == 3
    assert not any(members[name].permits_runs for name in members.names)


def test_parties_that_agree_hours_apart_still_run(members, monkeypatch):
    for name in (A, B):
        members[name].agree(DECIDE)
    expire(members, A)  # hours later
    members[C].agree(DECIDE)
    members.pump(names=[B, C])
    assert status(members, B) == "idle", "the server accepts no run"
    assert members[B].awaits == (A,), "the party that is away is named"
    members.pump()  # it is back, and its person's agreement stands
    assert status(members) == "queued"


def test_waiting_party_renews_its_permit_before_it_expires(members, monkeypatch):
    members[A].agree(DECIDE)
    (before,) = rows(members)
    members[A].advance()
    assert [row.jti for row in rows(members)] == [before.jti], "not at every call"
    monkeypatch.setattr(member_state, "PERMIT_AGE_SECONDS", -1.0)
    members[A].advance()
    (after,) = rows(members)
    assert after.jti != before.jti and after.expires >= before.expires
    assert member_state.PERMIT_AGE_SECONDS < 90


def test_agent_that_nobody_looks_at_keeps_its_permit(members, monkeypatch):
    monkeypatch.setattr("parties.agent.IDLE_SECONDS", 0.0)
    monkeypatch.setattr("parties.agent.WAIT_SECONDS", 0.05)
    application = ApplicationAgent(members.restart(A))
    application.member.advance()
    application.agree(DECIDE)
    application.look()
    expire(members, A)
    for name in (B, C):
        members[name].agree(DECIDE)
        members.pump(names=[B, C])
    until(lambda: (members[B].advance(), status(members, B) == "queued")[1])
    application.close()


def test_after_a_cancelled_run_new_permits_are_issued_without_a_person(members):
    members.agree(DECIDE).pump()
    members[B].cancel(DECIDE)
    spent = {row.jti for row in rows(members)}
    members.pump()
    fresh = [row for row in rows(members) if row.jti not in spent]
    assert sorted(row.party for row in fresh) == [A, B, C]
    assert {row.job for row in fresh} == {None}
    assert members[C].run_if_due() == DECIDE
    assert len(rows(members)) == 6 and all(row.job for row in rows(members))


def test_persons_request_names_the_party_whose_process_is_away(members, monkeypatch):
    monkeypatch.setattr(member, "PERMITS_SECONDS", 0.0)
    members.agree(DECIDE).pump()
    members[B].cancel(DECIDE)
    members.pump(names=[A, B])
    with pytest.raises(ConsentMissing, match=f"no valid permit of {C}"):
        members[B].run_if_due()
    members.pump()
    assert members[B].run_if_due() == DECIDE


def test_restarted_party_permits_again(members):
    members[A].agree(DECIDE)
    expire(members, A)
    members.restart(A)
    for name in (B, C):
        members[name].agree(DECIDE)
    members.pump()
    assert status(members) == "queued"


@pytest.mark.parametrize(("program", "other"), [(EXPLAIN, REASONS), (REASONS, EXPLAIN)])
def test_explanation_and_reasons_need_permits_of_their_own(group, program, other):
    """Both are the action `explain`; a permit and a receipt are for one of the two."""
    members = group().pump().send().pump().agree(DECIDE).pump()
    assert members[A].decision is not None
    assert {row.program for row in rows(members)} == {DECIDE}
    members.agree(program).pump()
    assert (members[A].explanation is not None) is (program == EXPLAIN)
    assert (members[A].reasons is not None) is (program == REASONS)
    assert sorted((row.program, row.party) for row in rows(members)) == [
        (each, party) for each in (DECIDE, program) for party in (A, B, C)
    ]
    own = next(row for row in rows(members) if (row.program, row.party) == (program, A))
    permit = signed_by(own.text, members[A].own.protocol.hellos[A].signing_key)
    assert (permit.action, permit.evaluates) == ("explain", program)
    kept = members[A].own.files.consent(program)
    assert own.receipt_sha256 == digest(dict(kept.receipt))
    assert Receipt(kept.receipt).run == permit.run and kept.request["action"] == "explain"
    client = members.connections[A].client
    with pytest.raises(ConsentMissing, match=f"{other} uses data of"):
        client.queue(members.opening.client_id, members[A].own.token, other)


def test_receipt_is_signed_once_for_an_agreement_and_names_what_was_agreed_to(members):
    made = calls_of(members, A)
    members[A].agree(DECIDE)
    (((receipt,), (text,)),) = [(call[6], call[5]) for call in made if call[5]]
    kept = members[A].own.files.consent(DECIDE)
    assert kept is not None and kept.receipt == receipt
    request = AccessRequest.model_validate_json(canonical(dict(kept.request)))
    key = members[A].own.protocol.hellos[A].signing_key
    found = Receipt.parse(canonical(dict(receipt)), key.hex(), request.digest)
    assert request.computation["inputs"] == signed_by(text, key).inputs
    assert (request.target, request.owner) == (members.opening.client_id, A)
    assert found.policy_version == Policies.load().version
    (process,) = found.document["dpv:hasProcess"]
    titles = [each["dct:title"] for each in process["dpv:hasPersonalData"]]
    assert titles == [column.name for column in members.schema.party(A).columns]
    assert process["dpv:hasStorageCondition"]["dpv:hasDuration"] == "PT86400S"

    expire(members, A)  # the permit is renewed, and the receipt is not sent again
    members.pump(names=[A])
    assert [len(call[6]) for call in made if call[5]] == [1, 0]
    assert {row.receipt_sha256 for row in rows(members)} == {digest(dict(receipt))}
    members.restart(A)  # another process sends the same receipt
    again = calls_of(members, A)
    expire(members, A)
    members.pump(names=[A])
    assert [call[6] for call in again if call[5]] == [[receipt]]


def test_no_permit_leaves_while_permits_are_withheld(members):
    withheld = True
    members[A].withhold_permits(lambda: withheld)
    members.agree(DECIDE).pump()
    assert {row.party for row in rows(members)} == {B, C} and status(members) == "idle"
    withheld = False  # control: nothing else kept it back
    members.pump()
    assert status(members) == "queued"


def test_an_agent_whose_log_was_forked_says_so_and_agrees_to_nothing(members, tmp_path):
    (tmp_path / FAULT_FILE).write_text("The log was forked.")  # as LogWatch keeps it
    key = Ed25519PrivateKey.generate()
    watch = LogWatch(ServerClient("http://127.0.0.1:9", 1), tmp_path, key)
    application = ApplicationAgent(members[A], watch=watch)
    assert application.failure is watch.fault is not None
    with pytest.raises(LogInconsistent):
        application.agree(DECIDE)
    members[A].agree(DECIDE)  # an agreement from before
    assert members[A].agreed_by(DECIDE) == (A,) and rows(members) == []
