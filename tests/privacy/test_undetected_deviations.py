"""Deviations from the protocol that are not detected, as stated in docs/PROTOCOL.md.

The parties are assumed to be honest but curious. These tests determine the damage that a malicious
party can do; the deviations that are detected are tested in test_misbehaviour_in_key_making.py and
test_misbehaviour_in_opening.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from engines.levelled.parameters import MODULUS_BITS
from engines.levelled.words import words_from_bytes, words_to_bytes
from tests.privacy.small import PARTIES, random_bits, run
from tests.privacy.table import Table

LIAR = "bank"


@pytest.fixture(scope="module")
def application(halves):
    bits = random_bits(halves.deployment.layout, np.random.default_rng(4), 1)[0]
    return run(halves, bits)


def combined(halves, opened, part):
    partials = opened.partials | {LIAR: part}
    return [int(score) for score in halves.party.combine(opened.program, opened.message, partials)]


def shifted(halves, opened, shift):
    """Return the liar's share that shifts the first score by `shift`, and the resulting score."""
    bits = halves.score_bits(opened.program)
    lie = words_from_bytes(opened.partials[LIAR], len(opened.result.bodies))
    lie[0] -= np.array([shift << (MODULUS_BITS - bits)]).astype(np.uint64)[0]
    half = 1 << (bits - 1)
    return words_to_bytes(lie), int(opened.truth[0] + shift + half) % (2 * half) - half


@pytest.mark.parametrize("shift", [1, -7, 100, -2048])
def test_share_altered_in_one_score_shifts_it_undetected(halves, application, shift):
    """A liar without any knowledge can reverse any decision: half the range changes every sign.

    No check of the opened numbers can detect this, since it would have to know the score.
    """
    opened = application.opened["decide"]
    lie, score = shifted(halves, opened, shift)
    assert combined(halves, opened, lie) == [score] != opened.truth.tolist()


def test_different_shares_for_different_readers_are_not_detected(halves, application):
    """Readers that compare their scores would notice; the protocol does not compare them."""
    opened = application.opened["decide"]
    told = [combined(halves, opened, shifted(halves, opened, shift)[0]) for shift in (0, 1, 2)]
    assert told[0] == opened.truth.tolist()
    assert len({score for (score,) in told}) == 3


def test_last_party_can_read_the_score_and_withhold_its_share(halves):
    """Without further assumptions, no protocol guarantees the result to all readers or to none."""
    table = Table(halves).keys()
    bits = random_bits(halves.deployment.layout, np.random.default_rng(4), 1)[0]
    result = table.decided(bits)
    table.carries = lambda posted: (posted.sender, posted.step) != (LIAR, "partial:decide")
    table.open("decide", result)
    truth = tuple(halves.scores("decide", bits).tolist())
    scores = {name: table[name].scores("decide", result) for name in PARTIES}
    assert scores == {LIAR: truth} | {name: None for name in PARTIES if name != LIAR}
