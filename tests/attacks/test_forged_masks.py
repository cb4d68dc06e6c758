"""A party whose encrypted masks are not bits: what it gains, since masks are not checked.

Their ciphertexts multiply what the comparison rotates. A number in place of a bit can turn the
sign, and garbage opens a random number. A polynomial can also move values of the rotated table to
other coefficients. None of these is opened. The control is an engine that opens them as known
zeros: a reader that forges its masks then reads more of the score than its sign. Other readers'
openings fail, but a single reader is not noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from engines.envelope import seal, unseal
from engines.interface import DECIDE, MASKED_OF, SIGN_OF
from engines.levelled import server as server_module
from engines.levelled.comparison import turned
from engines.levelled.keys import SecretShare
from engines.levelled.messages import join_inputs, split_inputs
from engines.levelled.opening import opened
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, SIGN_BITS
from engines.levelled.party import LevelledParty
from engines.levelled.results import coefficients_of_parts, split_results, split_shares
from parties.joint.messages import Partial, partial_step
from tests.privacy.misbehaving import HONEST, LIAR, lying
from tests.privacy.small import PARTIES, EngineHalves, random_bits
from tests.privacy.table import Table, payload
from trials.forged_inputs import FORGED_BITS, Forger, with_bit
from utils.errors import OpeningFailed

STRIDE = 16
"""Distance of the table's values: with 8 rotated bits, a step of 2^-8 of the range of scores."""


@dataclass
class Opened:
    """The opening of a sign with forged masks; `bit` is the liar's mask bit that is forged."""

    table: Table
    result: bytes
    bit: int

    def sign(self, name):
        return self.table[name].scores(SIGN_OF[DECIDE], self.result)[0]

    def values(self):
        """Return all opened coefficients as the liar sees them, in quarters: sign, known zeros."""
        said = self.table[LIAR].conversation.state.said(Partial, partial_step(SIGN_OF[DECIDE]))
        sent = {name: message.share for name, message in said.items()}
        counts = coefficients_of_parts(self.table.halves.server.public, SIGN_OF[DECIDE])
        parts = split_results(payload(self.result), DEFAULT, counts)
        shares = split_shares(sent, counts)
        return np.concatenate(
            [opened(part, own, SIGN_BITS) for part, own in zip(parts, shares, strict=True)]
        )


def opens(signs, bits, place, forge, readers=PARTIES):
    """Decide with the liar's mask ciphertext number `place` replaced by forge(forger, its bit)."""
    forged = []

    def encrypt_masks(self, program, party, public_key, secret):
        honest = LevelledParty.encrypt_masks(self, program, party, public_key, secret)
        if party != LIAR:
            return honest
        mask_format, key = self._mask_format(program), self._key(public_key)
        word = self._words(program, key, SecretShare.from_bytes(secret, DEFAULT))[0]
        forged.append(int(word) >> (63 - place) & 1)
        parameters = mask_format.parameters
        head, content = unseal(honest)
        made = split_inputs(content, mask_format.word_bits, parameters)[1].decode()
        made = with_bit(made, place, forge(Forger(key, parameters), forged[0]))
        return seal(head, join_inputs(key.digest, made, parameters))

    party = lying(signs, encrypt_masks=encrypt_masks)
    table = Table(EngineHalves(signs.deployment, signs.server, party), readers).keys()
    uploads = table.sent(bits)
    table.agree(DECIDE, uploads)
    result = signs.server.evaluate(DECIDE, uploads)
    table.open(DECIDE, result)
    (uploads[PARTIES[0], MASKED_OF[DECIDE]],) = {
        table[name].masked_scores(DECIDE, result) for name in PARTIES
    }
    second = signs.server.evaluate(SIGN_OF[DECIDE], uploads)
    table.open(SIGN_OF[DECIDE], second)
    return Opened(table, second, forged[0])


def windows(forger, bit):
    """Return an encryption of the bit plus a polynomial that fills the known zeros.

    Known zero k then opens to half or zero, by whether the score plus 16·k steps of the table is in
    the second or fourth quarter of the range.
    """
    messages = np.zeros((forger.parameters.rows, forger.parameters.n), np.uint64)
    gadget = forger.parameters.gadget(0)
    messages[:, 0] += np.uint64(bit) * gadget
    for k in range(KNOWN_ZEROS):
        exponent = k + 1 - STRIDE * 16 * k
        at = messages[:, exponent % forger.parameters.n]
        np.add(at, gadget, out=at) if exponent > 0 else np.subtract(at, gadget, out=at)
    return forger.rows(messages)


@pytest.fixture(scope="module")
def rows(signs):
    return random_bits(signs.deployment.layout, np.random.default_rng(4), 6)


@pytest.fixture
def zeros_of_the_comparison(monkeypatch):
    """Have the server open the coefficients after the sign as known zeros."""
    rerandomise, last = server_module.rerandomise, []

    def opening(mask, body, *rest):
        if mask.any():
            last[:] = mask, body
        else:
            mask, body = (turned(own, -1) for own in last)
        return rerandomise(mask, body, *rest)

    monkeypatch.setattr(server_module, "rerandomise", opening)


def test_forged_masks_open_nothing_beside_the_sign(signs, rows):
    """The sign is right, nobody has anything to notice, and all else opens as 0 for any score."""
    for row in rows[:4]:
        found = opens(signs, row, 1, windows)
        approved = signs.scores(DECIDE, row)[0] >= 0
        assert found.values().tolist() == [1 if approved else -1] + [0] * KNOWN_ZEROS
        assert {found.sign(name) for name in PARTIES} == {0.0 if approved else -1.0}


def test_control_a_single_reader_with_forged_masks_reads_where_the_score_lies(
    signs, rows, zeros_of_the_comparison
):
    """Eight thresholds of the score besides its sign, unnoticed by the others."""
    codes = {}
    for row in rows:
        score = int(signs.scores(DECIDE, row)[0])
        found = opens(signs, row, 1, windows, readers=(LIAR,))
        code = (found.values()[1:] != 0).astype(int)
        steps = (score + 0.5) / STRIDE - 64 * found.bit
        expected = [int((steps + 16 * k) // 64 % 2) for k in range(KNOWN_ZEROS)]
        assert np.count_nonzero(code != expected) <= 1, (score, code, expected)
        codes.setdefault((tuple(code), found.bit), []).append(score)
        for name in HONEST:
            assert found.table[name].broken is False
    assert len(codes) > 2


def test_control_an_honest_reader_notices_and_ends_the_application(
    signs, rows, zeros_of_the_comparison
):
    found = opens(signs, rows[0], 1, windows)
    with pytest.raises(OpeningFailed):
        found.sign(HONEST[0])
    assert found.table[HONEST[0]].broken


@pytest.mark.parametrize(("kind", "place"), [("7", 0), ("garbage masks", 13)])
def test_other_forged_masks_open_a_sign_or_an_error_for_any_score(signs, rows, kind, place):
    """A 7 opens a sign. Garbage opens a random number, which is a sign in half of all cases."""
    scores = signs.scores
    approved = sorted(rows, key=lambda row: scores(DECIDE, row)[0])
    for row in (approved[0], approved[-1]):
        found = opens(signs, row, place, lambda forger, _: FORGED_BITS[kind](forger))
        values = found.values()
        assert not values[1:].any()
        if kind == "7":
            assert found.sign(HONEST[0]) in (0.0, -1.0)
        elif abs(values[0]) != 1:
            with pytest.raises(OpeningFailed):
                found.sign(HONEST[0])
