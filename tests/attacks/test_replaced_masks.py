"""A party that makes its masks of the decision from another's record, once that is uploaded.

Masks are random, so that nothing but the commitment ties a party to them. The less significant rows
of a record's bit, times a power of two, are those of a mask's bit: a party that has them from the
server replaces a bit of its mask by a bit of the record, which then turns the sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pytest

from engines.envelope import seal, unseal
from engines.interface import DECIDE, ENCRYPTED_INPUTS, MASKED_OF, SIGN_OF
from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import SecretShare
from engines.levelled.messages import join_inputs, split_inputs
from engines.levelled.parameters import WIDE_NOISE, mask_parameters
from parties.joint import checks
from parties.joint.messages import RECORD_COMMIT, RecordCommit, agree_step
from tests.privacy.misbehaving import HONEST, LIAR, refused
from tests.privacy.small import PARTIES, random_bits
from tests.privacy.table import Table, digests
from trials.forged_inputs import with_bit
from utils.errors import MessageRepeated, PartiesDisagree

VICTIM, STOLEN = "applicant", 0
OWN = mask_parameters(WIDE_NOISE)


@dataclass
class Attack:
    """An application in which all records are uploaded; `word_bit` is the liar's top bit."""

    table: Table
    uploads: dict[tuple[str, str], bytes]
    word_bit: int
    honest: bytes


def attack(signs, bits):
    """Have all parties commit honestly, then the liar copy the victim's bit into its mask."""
    table = Table(signs).keys()
    uploads = table.sent(bits)
    engine, own = signs.party, table[LIAR]
    secret = SecretShare.from_bytes(own.secret, WIDE_NOISE)
    word = engine._words(DECIDE, engine._key(own.public_key), secret)[0]
    victims = signs.deployment.layout.party_bits(VICTIM)
    payload = unseal(uploads[VICTIM, ENCRYPTED_INPUTS])[1]
    record = split_inputs(payload, victims.stop - victims.start, WIDE_NOISE)[1].decode()
    less = [level * WIDE_NOISE.levels + 1 for level in range(2)]
    scale = np.uint64(WIDE_NOISE.levels * WIDE_NOISE.base_log - OWN.base_log)
    copied = Ggsw(
        record.masks[STOLEN : STOLEN + 1, less] << scale,
        record.bodies[STOLEN : STOLEN + 1, less] << scale,
    ).cut(OWN)
    honest = table.masks[LIAR]
    header, content = unseal(honest)
    digest, made = split_inputs(content, engine._mask_format(DECIDE).word_bits, OWN)
    forged = with_bit(made.decode(), 0, copied)
    table.masks[LIAR] = seal(header, join_inputs(digest, forged, OWN))
    return Attack(table, uploads, int(word >> np.uint64(63)), honest)


def signed(signs, made):
    """Return whether the readers learn that the record is approved."""
    table, uploads = made.table, made.uploads
    result = signs.server.evaluate(DECIDE, uploads)
    table.open(DECIDE, result)
    (uploads[PARTIES[0], MASKED_OF[DECIDE]],) = {
        table[name].masked_scores(DECIDE, result) for name in PARTIES
    }
    second = signs.server.evaluate(SIGN_OF[DECIDE], uploads)
    table.open(SIGN_OF[DECIDE], second)
    return table[LIAR].scores(SIGN_OF[DECIDE], second)[0] == 0.0


@pytest.fixture(scope="module")
def rows(signs):
    """Two records that differ in the stolen bit."""
    made = random_bits(signs.deployment.layout, np.random.default_rng(7), 40)
    place = signs.deployment.layout.party_bits(VICTIM).start + STOLEN
    return [made[np.flatnonzero(made[:, place] == bit)[0]] for bit in (0, 1)]


def test_masks_replaced_after_the_commitment_are_refused(signs, rows, monkeypatch):
    made = attack(signs, rows[1])
    table, liar = made.table, made.table[LIAR]
    replaced = sha256(table.masks[LIAR]).hexdigest()
    with pytest.raises(PartiesDisagree, match="masks"):
        liar.agree(DECIDE, digests(made.uploads), replaced)  # an honest program cannot either
    with monkeypatch.context() as without:
        without.setattr(checks, "_committed_masks", lambda *_: None)
        liar.agree(DECIDE, digests(made.uploads), replaced)
    table.collect()
    (posted,) = table.messages_of(LIAR, agree_step(DECIDE))
    refused(table, posted, PartiesDisagree)
    assert all(table[name].broken and not table[name].agreed(DECIDE) for name in HONEST)


def test_masks_cannot_be_committed_to_again(signs, rows):
    made = attack(signs, rows[1])
    own = made.table[LIAR].committed()[LIAR]
    other = RecordCommit(inputs=own, masks="1" * 64, nonce="0" * 64)
    refused(made.table, made.table.forge(LIAR, RECORD_COMMIT, other), MessageRepeated)


@pytest.mark.parametrize("bit", [0, 1])
def test_control_without_the_commitment_the_sign_tells_anothers_bit(signs, rows, monkeypatch, bit):
    monkeypatch.setattr(checks, "_committed_masks", lambda *_: None)
    made = attack(signs, rows[bit])
    made.table.agree(DECIDE, made.uploads)
    approved = signs.scores(DECIDE, rows[bit])[0] >= 0
    assert signed(signs, made) is bool(approved ^ made.word_bit ^ bit)


def test_masks_committed_to_are_those_agreed_to_and_evaluated(signs, rows):
    made = attack(signs, rows[0])
    made.table.masks[LIAR] = made.honest
    made.table.agree(DECIDE, made.uploads)
    committed = {name: sha256(made.table.masks[name]).hexdigest() for name in PARTIES}
    assert {n: own.masks for n, own in made.table[LIAR].agreements(DECIDE).items()} == committed
    assert signed(signs, made) is bool(signs.scores(DECIDE, rows[0])[0] >= 0)


@pytest.mark.parametrize("masks", [None, "0" * 64])
def test_commitment_names_masks_exactly_if_the_decision_has_any(signs, halves, masks):
    table = Table(signs if masks is None else halves).keys()
    wrong = RecordCommit(inputs="2" * 64, masks=masks, nonce="0" * 64)
    refused(table, table.forge(LIAR, RECORD_COMMIT, wrong), PartiesDisagree)
