"""A party's keys of an application are erased when nothing is left to open with them."""

from __future__ import annotations

import pytest

from engines.interface import DECIDE, EXPLAIN, REASONS
from parties.agent import ApplicationAgent
from parties.joint.member import JointMember
from parties.joint.protocol import JointProtocol
from tests.parties.joint.running import connect
from tests.parties.running import until
from trials.joint_stand_in import JointStandIn
from utils.errors import (
    AlreadyOpened,
    ApplicationExpired,
    DataFolderInUse,
    NotAuthentic,
    OpeningFailed,
    TrisealError,
    UnknownApplication,
)

A, B, C = "applicant", "bank", "credit_agency"
KEYS = {"secret_key", "identity"}


def keys(members, name):
    return KEYS & set(members.files(name))


def decided(members):
    """Open the decision and the reasons, so that only the explanation is left."""
    members.pump().send()
    members.agree(DECIDE).pump()
    return members.agree(REASONS).pump()


@pytest.mark.parametrize("readers", [None, [C], [A, B]])
def test_keys_are_erased_only_after_the_last_opening(group, readers):
    members = decided(group(readers))
    assert all(keys(members, name) == KEYS for name in members.names)  # an explanation may follow
    held = {name: members.files(name) for name in members.names}
    members.agree(EXPLAIN).pump()
    for name, before in held.items():
        assert keys(members, name) == set()
        assert members[name].secret_bytes == 0
        left = b"".join(members.files(name).values())
        for secret in (before["secret_key"], before["identity"][:16], before["identity"][16:48]):
            assert secret not in left


def test_opened_results_remain_readable_without_keys(group):
    members = decided(group())
    members.agree(EXPLAIN).pump()

    def shown(member):
        explained = member.explanation.explanation
        return member.decision, explained, member.fingerprint, member.events, member.record

    before = {name: shown(member) for name, member in members.members.items()}
    for name in members.names:
        member = members.restart(name)
        assert shown(member) == before[name]
        member.advance()
        assert shown(member) == before[name] and member.failure is None
        assert member.agreed_by(EXPLAIN) == (A, B, C) and member.ended is None
    code = members.opening.codes[B]
    members[B].close()
    with JointMember.join(members.connections[B], B, code) as again:
        assert again.decision == before[B][0]
    with pytest.raises(TrisealError, match="different code"):
        JointMember.join(members.connections[B], B, code[:-22] + "A" * 22)


def confirm(members):
    """Have every party confirm the result, before any makes its share."""
    for name in members.names:
        members[name].advance()


def test_a_party_keeps_its_identity_until_all_shares_have_arrived(group):
    members = decided(group())
    members.agree(EXPLAIN).pump(answer=False)
    confirm(members)
    members[A].advance()
    assert members[A].explanation is None
    assert keys(members, A) == {"identity"}  # its share is made; the others' must be unsealed
    members.restart(A)
    assert keys(members, A) == {"identity"}
    members.pump()
    assert members[A].explanation is not None and keys(members, A) == set()


class LastWords:
    """A client of a server that accepts no message: the party's messages stay in its outbox."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client, name)

    def exchange(self, client_id, token, messages, *more):
        if messages:
            raise TrisealError("no")
        return self._client.exchange(client_id, token, messages, *more)


def test_an_unsent_share_is_sent_after_the_secret_is_erased(group):
    members = decided(group([C]))
    members.agree(EXPLAIN).pump(answer=False)
    confirm(members)
    real = members.connections[B].client
    members.connections[B].client = LastWords(real)
    members.restart(B)
    with pytest.raises(TrisealError):
        members[B].advance()
    members.connections[B].client = real
    members.restart(B)
    assert keys(members, B) == {"identity"}
    members.pump()
    assert members[C].explanation is not None and keys(members, B) == set()


class OddPart(JointStandIn):
    """Fails to open a result; the stand-in engine alone would not detect a wrong share."""

    def combine(self, program, result, partials):
        raise OpeningFailed("The parties' parts do not open this result.")


def test_a_failed_opening_ends_the_application_for_the_reader(group):
    members = group().pump().send()
    members.connections[A].joint_engine = OddPart(members.server.public)
    members[A].close()
    members.members[A] = JointMember.resume(members.connections[A], members.opening.client_id, A)
    members.agree(DECIDE)
    with pytest.raises(OpeningFailed):
        for _ in range(10):
            for member in members.members.values():
                member.advance()
    assert keys(members, A) == set() and isinstance(members[A].ended, OpeningFailed)
    again = members.restart(A)
    assert isinstance(again.failure, OpeningFailed)
    for step in (again.advance, again.run_if_due, lambda: again.agree(DECIDE)):
        with pytest.raises(OpeningFailed):
            step()
    members.pump(names=[B, C])
    assert members[B].decision is not None and keys(members, B) == KEYS


class Lying:
    """A client of a server that returns something false from some calls."""

    def __init__(self, client, **lies):
        self._client, self._lies = client, lies

    def __getattr__(self, name):
        return self._lies.get(name) or getattr(self._client, name)


def test_forged_messages_of_a_server_do_not_end_the_application(group):
    """Only content signed by a party can: otherwise one lie of a server would erase the keys."""
    members = group()
    for member in members.members.values():
        member.advance()
    real = members.connections[A].client

    def altered(*args, **kwargs):
        found = real.exchange(*args, **kwargs)
        messages = [m.model_copy(update={"body": m.body[:-1] + b"x"}) for m in found.messages]
        return found.model_copy(update={"messages": tuple(messages)})

    members.connections[A].client = Lying(real, exchange=altered)
    members.restart(A)
    with pytest.raises(NotAuthentic):
        members[A].advance()
    assert members[A].ended is None and "identity" in members.files(A)
    members.connections[A].client = real
    members.restart(A)
    decided(members)
    other = members.connections[A].client.get_output(
        members.opening.client_id, members[B].own.token, DECIDE
    )
    members.connections[A].client = Lying(real, get_output=lambda *a: other + b"x")
    members.restart(A)
    members[A].advance()  # learns the state
    with pytest.raises(AlreadyOpened):
        members[A].own.protocol.open(DECIDE, other + b"x")
    assert members[A].ended is None and keys(members, A) == KEYS


def refuse(error):
    def call(*arguments):
        raise error

    return call


@pytest.mark.parametrize(
    "error", [ApplicationExpired("Its time is over."), UnknownApplication("-")]
)
def test_application_erased_on_its_server_is_ended(group, error):
    members = decided(group())
    members.connections[B].client = Lying(members.connections[B].client, exchange=refuse(error))
    members.restart(B)
    with pytest.raises(type(error)):
        members[B].advance()
    assert keys(members, B) == set() and members[B].decision is not None
    assert isinstance(members.restart(B).ended, type(error))


def test_another_server_cannot_end_the_application(group):
    members = decided(group())
    elsewhere = Lying(
        members.connections[B].client,
        exchange=refuse(UnknownApplication("There is no such application.")),
        url="http://elsewhere",
    )
    members.connections[B].client = elsewhere
    members.restart(B)
    with pytest.raises(UnknownApplication):
        members[B].advance()
    assert keys(members, B) == KEYS and members[B].ended is None


class ShortShare(JointStandIn):
    """Publishes a share of the key that no party can add."""

    def key_share(self, common):
        return super().key_share(common).model_copy(update={"share": b"short"})


def test_an_application_agent_reports_the_reason_of_its_end(group):
    members = group()
    members.connections[B].joint_engine = ShortShare(members.server.public)
    members[B].close()
    members.members[B] = JointMember.resume(members.connections[B], members.opening.client_id, B)
    applications = {name: ApplicationAgent(members[name], pinned=True) for name in members.names}
    for application in applications.values():
        application.look()
    until(lambda: all(application.over for application in applications.values()))
    for name, application in applications.items():
        assert "8 bytes" in application.over and keys(members, name) == set()
        with pytest.raises(UnknownApplication, match="8 bytes"):
            application.send(members.record(name))
        application.close()
    until(lambda: all(member.closed for member in members.members.values()))


def test_a_protocol_without_keys_can_still_be_read(group):
    members = decided(group())
    talk = members[B].own.protocol
    state = talk.to_bytes()
    parts = (members.connections[B].joint_engine, members.server.public, B)
    bare = JointProtocol.resume(*parts, members.opening.client_id, None, state, b"")
    assert bare.fingerprint == talk.fingerprint and bare.opened(DECIDE) == talk.opened(DECIDE)
    with pytest.raises(TrisealError, match="erased its keys"):
        bare.agree(EXPLAIN, bare.agreements(DECIDE)[B].inputs)


def test_party_is_played_by_one_process_at_a_time(group, local_server):
    members = group()
    client_id, folder = members.opening.client_id, members.folder / B
    other = connect(local_server, folder)
    with pytest.raises(DataFolderInUse, match="plays bank"):
        JointMember.resume(other, client_id, B)
    with pytest.raises(DataFolderInUse):
        JointMember.join(other, B, members.opening.codes[B])
    members[B].close()
    with JointMember.resume(other, client_id, B) as taken:
        with pytest.raises(DataFolderInUse, match="no longer plays"):
            members[B].advance()
        taken.advance()
    members.restart(B).advance()
