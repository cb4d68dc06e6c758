"""A server that gives two parties different models under one version.

Each model is within every party's bounds. The applicant's schema has other cuts, so that its
record is encoded with another meaning than the model and the other parties give it.
"""

import pytest

from engines.levelled.party import LevelledParty
from features.encoding import Layout
from features.schema import Schema
from parties.client import ServerClient
from parties.connection import Connection
from parties.joint import checks
from parties.joint.codes import open_joint
from parties.joint.member import JointMember
from parties.joint.messages import SHARE_COMMIT
from parties.joint.protocol import JointProtocol
from parties.store import SECRET_KEY, PartyStore
from tests.attacks.tampering import TamperingServer
from tests.privacy.small import PARTIES
from tests.privacy.table import APPLICATION, Table
from utils.errors import ForeignMessage, PartiesDisagree

VICTIM = "applicant"
RECORD = {"applicant_years": 4, "applicant_flag": False}


def other_cuts(public):
    """Return the model with other cuts of the applicant's column, and as many of them."""
    document = public.schema_.model_dump(mode="json")
    document["parties"][0]["columns"][0]["cuts"] = [1, 2, 3]
    return public.model_copy(update={"schema_": Schema.parse(document)})


def deceived(halves):
    """Return an application, not yet run, in which the server gave the applicant other cuts."""
    table = Table(halves)
    public = other_cuts(halves.server.public)
    engine = LevelledParty(public, halves.server.client_files())
    table.protocols[VICTIM] = JointProtocol.start(
        engine, public, VICTIM, APPLICATION, table.identities[VICTIM], PARTIES
    )
    return table, public


def test_parties_with_different_models_make_no_key(halves):
    table, _ = deceived(halves)
    with pytest.raises(PartiesDisagree, match="different models"):
        table.run()
    for name in PARTIES:
        assert not table[name].secret and not table[name].ready
        assert table.messages_of(name, SHARE_COMMIT) == []


def test_control_without_digests_a_record_is_decided_with_another_meaning(
    halves, bits, monkeypatch
):
    monkeypatch.setattr(checks, "_same_model", lambda *_: None)
    table, public = deceived(halves)
    table.keys()
    true = Layout(halves.server.public.schema_).encode_party(VICTIM, RECORD)
    sent = Layout(public.schema_).encode_party(VICTIM, RECORD)
    meant = bits.copy()
    own = halves.deployment.layout.party_bits(VICTIM)
    bits[own], meant[own] = sent, true
    result = table.decided(bits)
    table.open("decide", result)
    scores = tuple(halves.scores("decide", bits).tolist())
    assert {table[name].scores("decide", result) for name in PARTIES} == {scores}
    assert scores != tuple(halves.scores("decide", meant).tolist())


def less_flooding(model, client):
    client["budgets"]["decide"]["sigma_flood"] *= 0.99


def another_label(model, client):
    model["schema"]["decision"].update(approved="denied", denied="approved")


def another_size(model, client):
    model["slots"][0]["maximum_bytes"] += 1


@pytest.mark.parametrize("tamper", [less_flooding, another_label, another_size])
def test_parties_of_a_server_that_gives_one_another_model_stop(levelled_server, tmp_path, tamper):
    with TamperingServer(levelled_server.url, tamper) as cheating:
        urls = dict.fromkeys(PARTIES, levelled_server.url) | {VICTIM: cheating.url}
        connections = {
            name: Connection(ServerClient(url, 30), PartyStore(tmp_path / name))
            for name, url in urls.items()
        }
        codes = open_joint(connections["bank"].client).codes
        members = {
            name: JointMember.join(connection, name, codes[name])
            for name, connection in connections.items()
        }
        for _ in range(4):
            for member in members.values():
                if member.ended is None:
                    _advance(member)
        for name, member in members.items():
            assert isinstance(member.ended, PartiesDisagree), name
            assert "different models" in member.ended.message
        assert not list(tmp_path.rglob(SECRET_KEY))
        for name, member in members.items():
            member.close()
            connections[name].client.close()


def _advance(member):
    try:
        member.advance()
    except PartiesDisagree:
        assert member.ended is not None


def test_party_resumes_with_the_model_that_it_joined_with_only(
    levelled_server, tmp_path, monkeypatch
):
    """A server could otherwise change the opening's parameters once the keys are made."""
    store = PartyStore(tmp_path)
    connection = Connection(ServerClient(levelled_server.url, 30), store)
    code = open_joint(connection.client).codes[VICTIM]
    joined = JointMember.join(connection, VICTIM, code)
    client_id = joined.client_id
    joined.advance()
    joined.close()
    with TamperingServer(levelled_server.url, less_flooding) as cheating:
        later = Connection(ServerClient(cheating.url, 30), store)
        assert later.public.model_version == connection.public.model_version
        with pytest.raises(ForeignMessage, match="model has changed"):
            JointMember.resume(later, client_id, VICTIM)
        with monkeypatch.context() as control:  # without the digest it goes on with the other one
            control.setattr(JointProtocol, "model_sha256", later.public.digest)
            with JointMember.resume(later, client_id, VICTIM) as deceived_member:
                assert deceived_member.own.protocol.conversation.public == later.public
        later.client.close()
    JointMember.resume(connection, client_id, VICTIM).close()
    connection.client.close()
