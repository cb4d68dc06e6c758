"""Several parties in one process: the steps of a session, with joint keys."""

from __future__ import annotations

import threading
import time

import pytest

from engines.interface import DECIDE, EXPLAIN, REASONS
from parties.joint.session import JointSession
from parties.results import ALL, SERVER
from parties.sessions import session_class
from parties.single_key.session import ApplicationSession
from tests.parties.joint import running
from trials.joint_stand_in import scores_of
from utils.errors import (
    AlreadySent,
    ForbiddenSlot,
    OutOfStep,
    UnknownApplication,
    UnknownColumn,
    UnknownParty,
    ValueOutOfDomain,
)

A, B, C = "applicant", "bank", "credit_agency"


@pytest.fixture
def connection(local_server, tmp_path):
    return running.connect(local_server, tmp_path / "parties")


@pytest.fixture
def session(connection):
    opened = JointSession.open(connection)
    opened.make_keys()
    return opened


def record(session, party, **changed):
    columns = session.connection.public.schema_.party(party).columns
    return {column.name: column.default for column in columns} | changed


def send_all(session):
    return [session.send(party, record(session, party)) for party in session.plays]


def truth(session, program, **changed):
    layout = session.connection.layout
    inputs = {
        party: layout.encode_party(party, record(session, party) | changed.get(party, {})).tobytes()
        for party in session.plays
    }
    return scores_of(program, session.connection.public, inputs)


def test_all_steps_from_keys_to_explanation(session):
    sent = send_all(session)
    run = session.run()
    decision = session.open_decision()
    stated, explained = session.reasons(), session.explain()
    assert decision.score == truth(session, DECIDE)[0]
    assert list(stated.values) == truth(session, REASONS) and stated.run_seconds == 0.25
    assert stated.messages[0].what == "agree:reasons" and stated.approved is decision.approved
    assert list(explained.explanation.opened) == truth(session, EXPLAIN)
    assert explained.explanation.current_bin >= 0
    assert run.seconds == explained.run_seconds == 0.25
    assert session.state().state == "explained"
    assert not any(one.fresh for one in sent)


def test_the_keys_are_reported_as_joint(connection):
    session = JointSession.open(connection)
    keys = session.make_keys()
    assert keys.joint and keys.holder == "" and keys.shared_with == ()
    assert keys.parts_of == (A, B, C) and len(keys.fingerprint) == 24
    assert keys.secret_bytes == 8 and keys.evaluation_bytes == 16
    secrets = {connection.store.read(keys.client_id, p, "secret_key") for p in keys.parts_of}
    assert len(secrets) == 3
    with pytest.raises(AlreadySent, match="Start over"):
        session.make_keys()


def test_each_message_is_listed_once_in_the_step_that_sent_it(connection):
    session = JointSession.open(connection)
    keys = session.make_keys()
    steps = ("hello", "share_commit", "share_open")
    made = [(m.sender, m.what) for m in keys.messages]
    assert sorted(made) == sorted(
        [(p, s) for p in keys.parts_of for s in steps] + [(A, "public key")]
    )
    assert {m.receiver for m in keys.messages if m.relayed} == {ALL}
    assert all(m.seconds > 0 for m in keys.messages)
    sent = send_all(session)
    committed = [(party, "record_commit", ALL) for party in session.plays]
    uploaded = [(party, "encrypted inputs", SERVER) for party in session.plays]
    listed = [[(m.sender, m.what, m.receiver) for m in one.messages] for one in sent]
    assert listed[:2] == [[committed[0]], [committed[1]]]
    assert sorted(listed[2]) == sorted([committed[2], *uploaded])
    assert [one.waits for one in sent] == [True, True, False]
    run = session.run()
    assert sorted(m.what for m in run.messages) == ["agree:decide"] * 3 + ["run decide"]
    opened = session.open_decision()
    assert sorted(m.what for m in opened.messages) == (
        ["confirm:decide"] * 3 + ["encrypted result of decide"] * 3 + ["partial:decide"] * 6
    )
    assert session.explain().messages[0].what == "agree:explain"


def test_steps_out_of_order_name_the_missing_steps(connection):
    session = JointSession.open(connection)
    for step in (
        lambda: session.send(B, record(session, B)),
        session.run,
        session.open_decision,
    ):
        with pytest.raises(OutOfStep, match="keys"):
            step()
    with pytest.raises(OutOfStep, match="needs an opened decision"):
        session.explain()
    with pytest.raises(OutOfStep, match="need an opened decision"):
        session.reasons()
    session.make_keys()
    session.send(A, record(session, A))
    with pytest.raises(OutOfStep, match=r"Bank has to .*Credit agency has to"):
        session.run()
    session.send(B, record(session, B))
    session.send(C, record(session, C))
    with pytest.raises(OutOfStep, match="no decision to open yet: run it first"):
        session.open_decision()
    session.run()
    with pytest.raises(OutOfStep, match="needs an opened decision"):
        session.explain()
    session.open_decision()
    assert session.open_decision().score == truth(session, DECIDE)[0]


def test_invalid_record_is_refused_and_nothing_is_sent(session):
    for party, values, error in (
        (B, {"Account_age": -1}, ValueOutOfDomain),
        (B, {"Years": 1}, UnknownColumn),
        ("landlord", {}, UnknownParty),
    ):
        with pytest.raises(error):
            session.send(party, values)
    assert all(not slot.received_bytes for slot in session.state().slots[1:])


@pytest.mark.parametrize("sent", [(B,), (A, B, C)], ids=["one had sent", "all had sent"])
def test_record_replaced_before_the_run_opens_a_new_application(session, sent):
    before = session.client_id
    for party in sent:
        session.send(party, record(session, party))
    assert session.send(B, record(session, B, Account_age=60)).fresh
    assert session.client_id != before
    for party in {A, C} - {*sent}:
        assert not session.send(party, record(session, party)).fresh
    session.run()
    assert session.open_decision().score == truth(session, DECIDE, bank={"Account_age": 60})[0]


def test_record_changed_after_the_run_opens_a_new_application(session, connection):
    send_all(session)
    session.run()
    session.open_decision()
    before = session.client_id
    fingerprint = session.members[A].fingerprint
    sent = session.send(B, record(session, B, Account_age=60))
    assert sent.fresh and sent.client_id == session.client_id != before
    assert sent.keys.fingerprint == session.members[A].fingerprint != fingerprint
    assert sent.keys.client_id == sent.client_id
    senders = [m.sender for m in sent.messages if m.what == "encrypted inputs"]
    assert sorted(senders) == [A, B, C]
    with pytest.raises(OutOfStep):
        session.open_decision()
    session.run()
    assert session.open_decision().score == truth(session, DECIDE, bank={"Account_age": 60})[0]
    with pytest.raises(UnknownApplication):
        JointSession.resume(connection, before)


def test_application_lost_by_the_server_is_opened_again(session, connection):
    send_all(session)
    connection.client.erase(session.client_id, session.members[A].own.token)
    assert session.send(C, record(session, C)).fresh
    session.run()
    assert session.open_decision().score == truth(session, DECIDE)[0]


def test_a_session_is_resumed_between_all_steps(connection):
    client_id = JointSession.open(connection).client_id

    def resumed():
        return JointSession.resume(connection, client_id)

    resumed().make_keys()
    for party in (A, B, C):
        resumed().send(party, record(resumed(), party))
    assert resumed().is_sent(B, record(resumed(), B))
    assert not resumed().is_sent(B, record(resumed(), B, Account_age=60))
    resumed().run()
    assert resumed().open_decision().score == truth(resumed(), DECIDE)[0]
    assert list(resumed().explain().explanation.opened) == truth(resumed(), EXPLAIN)
    resumed().erase()
    with pytest.raises(UnknownApplication):
        resumed()
    assert not (connection.store.root / client_id).exists()


def run_when_all_have_sent(session):
    """Request a run until all parties, including those played elsewhere, have sent and agreed."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            return session.run()
        except OutOfStep:
            time.sleep(0.05)
    raise AssertionError("the parties played elsewhere did not send or agree within a minute")


def test_session_waits_for_parties_played_elsewhere(local_server, tmp_path):
    first = running.connect(local_server, tmp_path / "one")
    session = JointSession.open(first, [A])
    assert sorted(session.unclaimed) == [B, C]
    second = running.connect(local_server, tmp_path / "two")
    others = JointSession.join(second, session.unclaimed)
    failures = []

    def play():
        try:
            others.make_keys()
            for party in (B, C):
                others.send(party, record(others, party))
            run_when_all_have_sent(others)
            others.open_decision()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=play)
    thread.start()
    session.make_keys()
    session.send(A, record(session, A))
    run_when_all_have_sent(session)
    score = session.open_decision().score
    thread.join(30)
    assert not failures and others.open_decision().score == score
    with pytest.raises(ForbiddenSlot):
        session.explain()
    with pytest.raises(ForbiddenSlot, match="learns the reasons"):
        others.reasons()
    with pytest.raises(ForbiddenSlot):
        session.send(B, record(others, B))
    with pytest.raises(AlreadySent):  # this process cannot send the other parties' records again
        session.send(A, record(session, A))
    session.discard()


def test_session_class_depends_on_the_engine(local_server, clear_deployment):
    from engines.clear import ClearServer
    from engines.deployment import Deployment

    assert session_class(local_server.public) is JointSession
    clear = ClearServer(Deployment.load(clear_deployment)).public
    assert session_class(clear) is ApplicationSession
