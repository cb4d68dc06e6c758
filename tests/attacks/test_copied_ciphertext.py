"""A party that waits for another's ciphertext and sends a copy of it, or a bent one, as its own.

Nothing in a ciphertext tells who encrypted it: a copied GGSW ciphertext of another's bit, with
fresh encryptions of zero added to its rows, looks like one of the copying party. A party that
colludes with the server puts it where the decision depends on its own bit, and reads another's bit
from the decision. The commitments to all records, before any is uploaded, prevent that.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import pytest

from engines.envelope import seal, unseal
from engines.interface import DECIDE, ENCRYPTED_INPUTS
from engines.levelled.encryption import encrypt_bits, zeros
from engines.levelled.ggsw import Ggsw
from engines.levelled.messages import join_inputs, split_inputs
from engines.levelled.parameters import DEFAULT
from engines.levelled.randomness import Expander
from parties.joint import checks
from parties.joint.messages import RECORD_COMMIT, Agreement, RecordCommit
from parties.joint.protocol import JointProtocol
from parties.joint.session import JointSession
from tests.parties.joint.running import Members, connect
from tests.privacy.misbehaving import DECIDE_AGREE, HONEST, LIAR, lying, refused
from tests.privacy.small import PARTIES
from tests.privacy.table import digests
from trials.local_server import LocalServer
from utils.errors import AlreadySent, CommitmentBroken, MessageRepeated, PartiesDisagree

VICTIM = "applicant"


@dataclass(frozen=True)
class Case:
    """Two records of the victim that differ in the bit `stolen` only, and where the liar puts it.

    With the records of the other two fixed, the decision is that bit if the liar's bit `placed` is
    a copy of it, and does not depend on it if the liar's bit is its own.
    """

    records: tuple[dict, dict]
    others: dict[str, dict]
    stolen: int
    placed: int
    approved: tuple[bool, bool]


def find_case(halves) -> Case:
    layout = halves.deployment.layout
    program = halves.deployment.programs_of("levelled")[DECIDE]
    records = {
        name: [
            {f"{name}_years": years, f"{name}_flag": flag}
            for years, flag in itertools.product((0, 3, 7, 50), (False, True))
        ]
        for name in PARTIES
    }
    encoded = {n: [layout.encode_party(n, r) for r in records[n]] for n in PARTIES}

    def approves(victim, liar, placed, value, third) -> bool:
        liar = liar.copy()
        liar[placed] = value
        parts = {VICTIM: victim, LIAR: liar, "credit_agency": third}
        return bool(program.scores(np.concatenate([parts[n] for n in PARTIES])[None])[0, 0] >= 0)

    for zero, one in itertools.product(range(8), repeat=2):
        differing = np.flatnonzero(encoded[VICTIM][zero] != encoded[VICTIM][one])
        if len(differing) != 1 or encoded[VICTIM][zero][differing[0]]:
            continue
        for own, third in itertools.product(range(8), repeat=2):
            for placed in range(4):
                found = [
                    [
                        approves(
                            encoded[VICTIM][record],
                            encoded[LIAR][own],
                            placed,
                            value,
                            encoded["credit_agency"][third],
                        )
                        for record in (zero, one)
                    ]
                    for value in (0, 1)
                ]
                if found[0] in ([True] * 2, [False] * 2) and found[1] == [not found[0][0]] * 2:
                    return Case(
                        (records[VICTIM][zero], records[VICTIM][one]),
                        {
                            LIAR: records[LIAR][own],
                            "credit_agency": records["credit_agency"][third],
                        },
                        int(differing[0]),
                        placed,
                        (found[0][0], found[1][0]),
                    )
    raise AssertionError("the small model has no such case")


@pytest.fixture(scope="module")
def case(halves):
    return find_case(halves)


@pytest.fixture(scope="module")
def server(halves, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copied")
    server = LocalServer(folder, engine=halves.server, party_engine=halves.party)
    yield server
    server.stop()


class Seen:
    """A client that shows the liar all uploads: the server colludes with it."""

    def __init__(self, client) -> None:
        self._client = client
        self.uploads: dict[str, bytes] = {}
        self.withholds: tuple[str, str] | None = None
        """Sender and step of a message that is not delivered."""

    def __getattr__(self, name):
        return getattr(self._client, name)

    def send_file(self, client_id, party, file_name, message, token):
        if file_name == ENCRYPTED_INPUTS:
            self.uploads[party] = message
        return self._client.send_file(client_id, party, file_name, message, token)

    def exchange(self, *arguments):
        found = self._client.exchange(*arguments)
        kept = [m for m in found.messages if (m.sender, m.step) != self.withholds]
        after = found.after if len(kept) == len(found.messages) else 0
        return found.model_copy(update={"messages": tuple(kept), "after": after})


def application(server, folder) -> tuple[Members, Seen]:
    """Return members with keys, and all uploads of the honest ones."""
    members = Members(server, folder).pump()
    seen = Seen(members.client)
    for name in HONEST:
        members.connections[name].client = seen
        members.restart(name)
    return members, seen


def bent(halves, seen, case, record, key, inverted=False) -> bytes:
    """Return the liar's record with a re-randomised copy of the victim's bit, or of its inverse."""
    party, layout = halves.party, halves.deployment.layout
    public = party._key(key)
    payload = unseal(seen.uploads[VICTIM])[1]
    of_victim = split_inputs(payload, layout.party_bits(VICTIM).stop, DEFAULT)[1].one(case.stolen)
    masks, bodies = of_victim.masks[0], of_victim.bodies[0]
    if inverted:  # an encryption of 1 minus the bit
        one = encrypt_bits(np.ones(1, np.uint8), public, DEFAULT, Expander.fresh())
        masks, bodies = one.masks[0] - masks, one.bodies[0] - bodies
    fresh = zeros(public, DEFAULT.rows, DEFAULT, Expander.fresh())
    own = layout.encode_party(LIAR, record)
    mine = encrypt_bits(own, public, DEFAULT, Expander.fresh())
    mine.masks[case.placed], mine.bodies[case.placed] = masks + fresh[0], bodies + fresh[1]
    sealed = join_inputs(public.digest, Ggsw(mine.masks, mine.bodies), DEFAULT)
    return seal(party._header(ENCRYPTED_INPUTS, LIAR), sealed)


def liar_sends(halves, members, seen, case, inverted=False) -> None:
    """Have the liar commit to a bent copy of the victim's upload, if it has one, and send it."""

    def encrypt(self, party, bits, key):
        return bent(halves, seen, case, case.others[LIAR], key, inverted)

    members.connections[LIAR].joint_engine = lying(halves, encrypt=encrypt)
    members[LIAR].send_record(case.others[LIAR])


def honest_send(members, case, bit) -> None:
    members[VICTIM].send_record(case.records[bit])
    members["credit_agency"].send_record(case.others["credit_agency"])


@pytest.mark.parametrize("inverted", [False, True], ids=["copied", "inverted"])
def test_control_without_commitments_the_decision_is_the_copied_bit(
    halves,
    server,
    case,
    tmp_path,
    inverted,
):
    """The parties upload as soon as they have encrypted, as they would without commitments."""
    for bit in (0, 1):
        members, seen = application(server, tmp_path / f"{bit}")
        with patch.object(JointProtocol, "all_committed", property(lambda p: p.has_committed)):
            honest_send(members, case, bit)
        assert VICTIM in seen.uploads
        liar_sends(halves, members, seen, case, inverted)
        members.pump().agree(DECIDE).pump()
        copied = 1 - bit if inverted else bit
        assert {m.decision.approved for m in members.members.values()} == {case.approved[copied]}


def test_decision_with_an_own_bit_does_not_depend_on_the_other_partys(server, case, tmp_path):
    """So that in the control, it is the copy that reveals the bit."""
    found = set()
    for bit in (0, 1):
        members, _ = application(server, tmp_path / f"{bit}")
        honest_send(members, case, bit)
        members[LIAR].send_record(case.others[LIAR])
        members.pump().agree(DECIDE).pump()
        found.add(members[LIAR].decision.approved)
    assert len(found) == 1


def test_a_copy_made_after_the_uploads_is_refused_by_every_honest_party(
    halves,
    server,
    case,
    tmp_path,
):
    members, seen = application(server, tmp_path)
    honest_send(members, case, 1)
    members.pump()
    assert seen.uploads == {}  # there is nothing to copy yet
    with pytest.raises(KeyError):
        liar_sends(halves, members, seen, case)
    members.pump()
    assert seen.uploads == {}
    members.connections[LIAR].joint_engine = halves.party
    members[LIAR].send_record(case.others[LIAR])  # it has to commit to a record of its own
    members.pump()
    assert set(seen.uploads) == set(HONEST)
    own, client_id = members[LIAR].own, members.opening.client_id
    late = bent(halves, seen, case, case.others[LIAR], own.protocol.public_key)
    members.client.send_file(client_id, LIAR, ENCRYPTED_INPUTS, late, own.token)
    members.pump()
    for name in HONEST:
        with pytest.raises(PartiesDisagree, match=f"different record of {LIAR}"):
            members[name].agree(DECIDE)
    talk = own.protocol.conversation
    inputs = own.protocol.committed() | {LIAR: hashlib.sha256(late).hexdigest()}
    message = Agreement(
        program=DECIDE,
        inputs=inputs,
        public_key_digest=hashlib.sha256(own.protocol.public_key).hexdigest(),
        nonce=talk.state.nonces[RECORD_COMMIT],
    )
    talk.say(DECIDE_AGREE, message)
    own.exchange()
    for name in HONEST:
        with pytest.raises(PartiesDisagree, match=f"record of {LIAR}"):
            members[name].advance()
        assert members[name].decision is None and members[name].ended is not None


def test_no_upload_leaves_while_the_server_withholds_one_commitment(server, case, tmp_path):
    members, seen = application(server, tmp_path)
    seen.withholds = (LIAR, RECORD_COMMIT)
    honest_send(members, case, 0)
    members[LIAR].send_record(case.others[LIAR])
    for _ in range(3):
        for name in HONEST:
            members[name].advance()
    assert seen.uploads == {}
    assert all(members[name].awaits == (LIAR,) for name in HONEST)
    seen.withholds = None
    for name in HONEST:
        members.restart(name)
    members.pump()
    assert set(seen.uploads) == set(HONEST)
    committed = members[LIAR].own.protocol.committed()
    assert {n: hashlib.sha256(m).hexdigest() for n, m in seen.uploads.items()} == {
        name: committed[name] for name in HONEST
    }


def test_a_second_commitment_is_refused(server, case, tmp_path):
    members, _ = application(server, tmp_path)
    honest_send(members, case, 0)
    members[LIAR].send_record(case.others[LIAR])
    members.pump()
    own = members[LIAR].own
    other = RecordCommit(inputs=os.urandom(32).hex(), nonce=os.urandom(32).hex())
    own.protocol.conversation.say(RECORD_COMMIT, other)
    with pytest.raises(AlreadySent):
        own.exchange()
    again = own.protocol.pending()[0]
    for name in HONEST:
        with pytest.raises(MessageRepeated):
            members[name].own.protocol.receive(LIAR, RECORD_COMMIT, None, again.body)


def copied_digest(table):
    """Return the liar's commitment to the victim's own digest, whose upload it does not know."""
    table.keys()
    for name in HONEST:
        table[name].commit_record(os.urandom(32).hex())
    table.run()
    copied = table[LIAR].committed()[VICTIM]
    return table.forge(LIAR, RECORD_COMMIT, RecordCommit(inputs=copied, nonce="0" * 64))


def test_another_partys_digest_is_refused_as_a_commitment(table):
    refused(table, copied_digest(table), PartiesDisagree)


def test_control_without_the_comparison_another_partys_digest_is_accepted(table):
    posted = copied_digest(table)
    with patch.object(checks, "_own_record", lambda *_: None):
        assert all(table.tell(name, posted) for name in HONEST)
        assert all(table[name].all_committed for name in HONEST)


def agreement(table, bits, nonce):
    uploads = table.keys().sent(bits)
    key = hashlib.sha256(table[LIAR].public_key).hexdigest()
    message = Agreement(
        program=DECIDE, inputs=digests(uploads), public_key_digest=key, nonce=nonce(table)
    )
    return table.forge(LIAR, DECIDE_AGREE, message)


@pytest.mark.parametrize("nonce", [os.urandom(32), bytes(32), None], ids=["other", "0", "none"])
def test_a_commitment_opened_to_another_nonce_is_refused(table, bits, nonce):
    refused(table, agreement(table, bits, lambda _: nonce), CommitmentBroken)


def test_the_committed_nonce_is_accepted(table, bits):
    true = agreement(table, bits, lambda t: t[LIAR].conversation.state.nonces[RECORD_COMMIT])
    assert all(table.tell(name, true) for name in HONEST)


def test_control_without_the_check_a_nonce_is_chosen_after_the_others(table, bits):
    chosen = agreement(table, bits, lambda _: bytes(32))
    with patch.object(checks, "_as_promised", lambda *_: None):
        assert all(table.tell(name, chosen) for name in HONEST)


def test_a_replaced_record_has_a_fresh_ciphertext_and_nonce(server, tmp_path):
    session = JointSession.open(connect(server, tmp_path / "one"))
    session.make_keys()
    seen = set()
    for flag in (True, False):
        sent = session.send(LIAR, {"bank_years": 3, "bank_flag": flag})
        nonce = session.members[LIAR].own.protocol.conversation.state.nonces[RECORD_COMMIT]
        seen |= {sent.sha256, nonce}
    assert len(seen) == 4
