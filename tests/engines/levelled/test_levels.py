"""Levels of masked points: exact in integers at every edge, and under encryption."""

import os

import numpy as np
import pytest

from engines.levelled.comparison import rotated_bits, table_cover
from engines.levelled.levels import combine_levels, level_table, levels
from engines.levelled.masks import MaskFormat, decode_masks, draw_words, encrypt_masks
from engines.levelled.opening import Result
from engines.levelled.parameters import DEFAULT, KNOWN_ZEROS, LEVEL_BITS, WIDE_NOISE
from engines.levelled.randomness import Expander
from engines.levelled.sign_budgets import sign_budget
from engines.levelled.words import words_to_bytes
from model.levels import LEVELS, levels_of, position_points, table_bits
from tests.engines.levelled.joint_keys import PARTIES, joint_keys
from tests.engines.levelled.test_comparison import bare
from utils.errors import OpeningFailed

LOW, HIGH = -710, 1135


def edges_of(outputs):
    unit = position_points(12, outputs)
    return tuple(1 + unit * place for place in (0, 1, 2, 4, 8, 16, 24))


@pytest.mark.parametrize(("outputs", "low"), [(8, "least"), (18, "largest")])
def test_levels_are_right_with_the_largest_noise_that_the_model_allows(outputs, low):
    """With the worst lower bits of words; with a step more of noise the edges fail."""
    mask_format, randomness = MaskFormat.of(DEFAULT, 12, 3), Expander(bytes([outputs] * 32))
    step, kept = 1 << 52, mask_format.word_bits
    left = step // 2 - int(mask_format.truncation * 2**64)
    below = np.uint64((1 << (64 - kept)) - 1)
    edges = np.array(edges_of(outputs))
    above = np.resize(np.r_[edges, LOW], outputs)
    under = np.resize(np.r_[edges - 1, HIGH], outputs)

    def found(points, noise):
        words = randomness.uniform_words((3, len(points))) & ~below
        words |= below if low == "largest" else np.uint64(0)
        phases = np.array([(int(p) * step + noise) % 2**64 for p in points], np.uint64)
        y = phases - words.sum(axis=0, dtype=np.uint64)
        none = np.zeros((len(y), 2, DEFAULT.n), np.uint64)
        masks = [bare(own, mask_format) for own in words]
        mask, body = levels(y, masks, mask_format, none, LOW, edges_of(outputs))
        assert not mask.any() and not (body[: len(y)] % np.uint64(1 << 61)).any()
        return (body[: len(y)] >> np.uint64(61)).tolist()

    for noise, points in ((left - 3, under), (3 - left, above)):
        assert found(points, noise) == levels_of(points, edges).tolist()
    most, points = step // 2 + int(mask_format.truncation * 2**64) + 3, np.resize(edges, outputs)
    assert found(points, -most) == (levels_of(points, edges) - 1).tolist()


def test_encrypted_levels_are_within_their_budget():
    key, mask_format = joint_keys(WIDE_NOISE), MaskFormat.of(WIDE_NOISE, 12, 3)
    budget = sign_budget(mask_format, 8, LEVEL_BITS)
    assert budget.half_step == 1 / 16
    edges = edges_of(8)
    points = np.array([edges[k] for k in range(7)] + [0])
    words = [draw_words(8, Expander.fresh()) for _ in PARTIES]
    y = (points.view(np.uint64) << np.uint64(52)) - sum(words)
    sent = [encrypt_masks(own, key.public, mask_format, Expander.fresh()) for own in words]
    decoded = [decode_masks(own, key.public, mask_format, 8) for own in sent]
    cover = table_cover(key.public, os.urandom(32), 8)
    phases = key.phase(*levels(y, decoded, mask_format, cover, LOW, edges))[:8]
    expected = np.array([1, 2, 3, 4, 5, 6, 7, 0], np.uint64) << np.uint64(61)
    errors = (phases - expected).view(np.int64) * 2.0**-64
    assert np.abs(errors).max() < 8 * budget.sigma_program < budget.half_step / 2


def test_positions_of_the_table_are_those_of_the_model():
    """model/levels.py and the rotation agree on the number of top bits."""
    for outputs in range(1, 33):
        assert table_bits(outputs) == rotated_bits(DEFAULT.n, outputs, 12)


def test_table_is_a_staircase_and_other_edges_are_refused():
    table = level_table(LOW, edges_of(8), 12, 8, 8) >> np.uint64(64 - LEVEL_BITS)
    assert sorted(set(table.tolist())) == list(range(LEVELS))
    assert (np.diff(table.astype(int)) >= 0).all()
    for edges, rotating in (((1, 18, 33, 49, 65, 81, 97), 8), (edges_of(8), 7)):
        with pytest.raises(ValueError, match="do not fit the table"):
            level_table(LOW, edges, 12, 8, rotating)


def test_every_value_is_a_level_and_wrong_zeros_are_an_error():
    values = np.arange(LEVELS, dtype=np.uint64) << np.uint64(64 - LEVEL_BITS)
    none, count = np.zeros(16, np.uint64), KNOWN_ZEROS
    results = [Result(none, values), Result(none, np.zeros(count, np.uint64))]
    shares = [{"one": bytes(8 * LEVELS)}, {"one": bytes(8 * count)}]
    assert combine_levels(results, shares).tolist() == list(range(LEVELS))
    added = np.zeros(count, np.uint64)
    added[3] = 1 << 61
    with pytest.raises(OpeningFailed, match="do not open this result"):
        combine_levels(results, [shares[0], {"one": words_to_bytes(added)}])
