"""Complete applications with the real joint engine over HTTP: sessions, members, backend.py."""

from __future__ import annotations

import time

import pytest

import backend
from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from model.explanation import explain_scores
from parties.client import ServerClient
from parties.connection import Connection
from parties.joint.codes import open_joint
from parties.joint.member import JointMember
from parties.joint.session import JointSession
from parties.store import PartyStore
from settings import get_settings
from tests.parties.running import LiveServer, Oracle
from utils.errors import EngineUnavailable, PartiesDisagree


@pytest.fixture(scope="module")
def server(tmp_path_factory, levelled_deployment):
    running = LiveServer(tmp_path_factory.mktemp("levelled_live"), levelled_deployment)
    running.settings["engine"] = "levelled"
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def truth(levelled_deployment):
    """Return a function for the scores of the levelled engine's own programs, in the clear."""
    deployment = Deployment.load(levelled_deployment)
    programs = deployment.programs_of("levelled")

    def scores(program, record):
        bits = deployment.layout.encode(record)[None, :]
        return [int(score) for score in programs[program].scores(bits)[0]]

    return scores


@pytest.fixture(scope="module")
def oracle(levelled_deployment):
    return Oracle(levelled_deployment)


def test_a_session_opens_the_scores_of_the_program(server, tmp_path, oracle, truth):
    connection = server.connect(tmp_path / "parties")
    with pytest.raises(EngineUnavailable, match="jointly"):
        _ = connection.engine
    session = JointSession.open(connection)
    keys = session.make_keys()
    assert keys.joint and keys.evaluation_bytes == 32 + 8 * 2048
    record = oracle.default()
    for party in oracle.schema.party_names:
        session.send(party, oracle.of(party, record))
    session.run()
    decision = session.open_decision()
    assert [decision.score] == truth(DECIDE, record)
    explained = session.explain().explanation
    scores = tuple(float(s) for s in truth(EXPLAIN, record))
    own = oracle.of(oracle.schema.explained_party, record)
    assert explained == explain_scores(oracle.schema, own, decision.approved, scores)


def test_parties_with_separate_secrets_open_one_decision(server, tmp_path, oracle, truth):
    client = ServerClient(server.url, 30)
    opening = open_joint(client, ["bank"])
    record = oracle.default()
    members = {}
    for party, code in opening.codes.items():
        folder = PartyStore(tmp_path / party)
        members[party] = JointMember.join(
            Connection(ServerClient(server.url, 30), folder), party, code
        )
    _pump(members, lambda: all(m.keys_ready for m in members.values()))
    assert len({m.fingerprint for m in members.values()}) == 1
    for party, member in members.items():
        member.send_record(oracle.of(party, record))
    _pump(members, lambda: all(m.records_arrived for m in members.values()))
    for member in members.values():
        member.agree(DECIDE)
    _pump(members, lambda: members["bank"].decision is not None)
    assert [m.decision for p, m in members.items() if p != "bank"] == [None, None]
    assert [members["bank"].decision.score] == truth(DECIDE, record)
    for party in list(members):
        connection = Connection(ServerClient(server.url, 30), PartyStore(tmp_path / party))
        members[party].close()
        members[party] = JointMember.resume(connection, opening.client_id, party)
        members[party].agree(EXPLAIN)
    _pump(members, lambda: members["bank"].explanation is not None)
    assert list(members["bank"].explanation.explanation.opened) == truth(EXPLAIN, record)
    sizes = {event.what: event.size for event in members["bank"].events if event.sender == "bank"}
    assert max(size for what, size in sizes.items() if what != "encrypted inputs") < 32 * 1024
    traffic = client.traffic(opening.client_id, opening.watch_token).items
    assert {t.receiver for t in traffic if t.what.startswith("partial:")} == {"bank"}


def test_a_record_under_another_applications_key_is_not_agreed_to(server, tmp_path, oracle):
    """The server checks only the form of an upload; the owner's digest shows the difference."""
    one = JointSession.open(server.connect(tmp_path / "one"))
    two = JointSession.open(server.connect(tmp_path / "two"))
    for session in (one, two):
        session.make_keys()
        for party in oracle.schema.party_names:
            session.send(party, oracle.of(party, oracle.default()))
    engine = server.connect(tmp_path / "three").joint_engine
    layout = one.connection.layout
    bits = layout.encode_party("bank", oracle.of("bank", oracle.default()))
    foreign = engine.encrypt("bank", bits, two.members["bank"].own.protocol.public_key)
    token = one.members["bank"].own.token
    one.connection.client.send_file(one.client_id, "bank", "encrypted_inputs", foreign, token)
    with pytest.raises(PartiesDisagree):
        one.run()


def _pump(members, done) -> None:
    """Advance all members until `done` returns True; the server evaluates meanwhile."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, [m.state.model_dump() for m in members.values()]
        for member in members.values():
            member.advance(wait=0.1)


@pytest.fixture
def served(server, monkeypatch, tmp_path):
    monkeypatch.setenv("TRISEAL_SERVER_PORT", str(server.port))
    monkeypatch.setenv("TRISEAL_PARTY_DATA", str(tmp_path / "parties"))
    monkeypatch.delenv("TRISEAL_SERVER_URL", raising=False)
    get_settings.cache_clear()
    backend.connection.cache_clear()
    yield
    get_settings.cache_clear()
    backend.connection.cache_clear()


def test_functions_of_the_known_demo_decide_and_explain(served, oracle, truth):
    record = oracle.default()
    keys = backend.keygen_send()
    assert keys.joint and keys.holder == ""
    for party in oracle.schema.party_names:
        backend.pre_process_encrypt_send(keys.client_id, party, oracle.of(party, record))
    assert backend.run_fhe(keys.client_id).seconds > 0
    assert [backend.get_output_and_decrypt(keys.client_id).score] == truth(DECIDE, record)
    explained = backend.explain_encrypt_run_decrypt(keys.client_id).explanation
    assert list(explained.opened) == truth(EXPLAIN, record)
    backend.erase_application(keys.client_id)
    backend.discard_application(keys.client_id)
