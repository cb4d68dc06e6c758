"""Noise covers what one row changes, its sum has the promised variance, and it never repeats
for other data."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from federated.aggregation.group import MOST_LENDERS
from federated.privacy import noise as module
from federated.privacy.noise import (
    HESSIAN_RATIO,
    LEAST_VARIANCE,
    MAXIMUM_CELLS,
    Part,
    count_parts,
    level_parts,
    noise,
    noise_seed,
    score_parts,
    sum_excess,
    with_noise,
)
from federated.privacy.parameters import Privacy, smallest_roster
from utils.errors import PrivacyInvalid

PRIVACY = Privacy(noise_multiplier=20, delta=1e-6)
SECRET, RUN = bytes(range(32)), bytes(range(32, 64))
ONE = 1 << 30


def moved(ratio):
    """Return the largest g² + ratio·h² of a row, in squared units of 2^-30."""
    ends = np.concatenate([2.0 ** -np.arange(1, 80), np.arange(64) * 2.0**-32])
    p = np.concatenate([np.linspace(0, 1, 400_001), ends, 1 - ends])
    g, h = np.rint(p * ONE).astype(int), np.rint(p * (1 - p) * ONE).astype(int)
    return max(int(a) ** 2 + ratio * int(b) ** 2 for a, b in zip(g, h, strict=True))


def test_a_row_moves_a_histogram_by_at_most_the_sensitivity():
    columns, lenders = 15, 5
    gradients, hessians = level_parts(PRIVACY, lenders, columns=columns, cells=90, nodes=1, depth=3)
    assert gradients.variance == hessians.variance * HESSIAN_RATIO
    # In units in which the sum's noise has variance 1, a row's squared distance.
    distance = columns * moved(HESSIAN_RATIO) / (gradients.variance * smallest_roster(lenders))
    assert distance <= Fraction(1, 20**2)
    assert distance == pytest.approx(1 / 20**2, rel=1e-9)  # no noise is wasted
    assert moved(12) > ONE**2 * 1.01  # a less noisy hessian would cost more


def test_noise_of_counts_is_that_of_their_rows():
    states, classes = count_parts(PRIVACY, 5, columns=15, states=90)
    assert (states.length, classes.length) == (180, 2)  # denied and approved rows
    assert states.variance == Fraction(20**2 * 15, 4)
    assert classes.variance == 100
    # A tree of 3 levels spends 3 releases on a training row, and as much on a validation row.
    (scores,) = score_parts(PRIVACY, 5, scores=256, depth=3)
    assert scores.variance == Fraction(100, 3)
    little = Privacy(noise_multiplier=0.5, delta=1e-6)
    (scores,) = score_parts(little, 5, scores=256, depth=3)
    assert scores.variance == LEAST_VARIANCE


def test_parts_of_a_level_follow_its_vector():
    parts = level_parts(PRIVACY, 5, columns=15, cells=90, nodes=4, scores=256, depth=3)
    assert [part.length for part in parts] == [90] * 8 + [256]
    assert len({part.variance for part in parts[:8:2]}) == 1


@pytest.mark.parametrize("lenders", [3, 5, 20])
def test_sum_of_the_lenders_has_the_variance(lenders):
    parts = [Part(4000, Fraction(PRIVACY.noise_multiplier) ** 2 / smallest_roster(lenders))]
    total = np.zeros(4000, np.uint64)
    variances = {}
    for lender in range(lenders):
        total += noise(bytes([lender]) * 32, parts)
        variances[lender + 1] = float(total.view(np.int64).astype(float).var())
    smallest = smallest_roster(lenders)
    assert variances[smallest] == pytest.approx(400, rel=0.1)
    assert variances[lenders] == pytest.approx(400 * lenders / smallest, rel=0.1)


def step(vector, parts, tree=3, level=1, run=RUN, secret=SECRET):
    return with_noise(vector, parts, secret=secret, run=run, tree=tree, level=level)


def test_two_openings_of_one_step_cannot_be_averaged():
    parts = level_parts(PRIVACY, 3, columns=1, cells=2000, nodes=1, depth=3)
    vector = np.arange(4000, dtype=np.uint64)
    deviation = float(parts[0].variance) ** 0.5

    def remaining(openings):
        mean = sum((o - vector).view(np.int64)[:2000].astype(float) for o in openings)
        return float(np.std(mean / len(openings))) / deviation

    # Another attempt has other masks, but the same tree, level and vector.
    assert remaining([step(vector, parts) for _ in range(16)]) == pytest.approx(1, rel=0.1)
    # Control: with fresh noise in every attempt, 16 openings leave a quarter.
    fresh = [vector + noise(bytes([i]) * 32, parts) for i in range(16)]
    assert remaining(fresh) == pytest.approx(0.25, rel=0.1)


def test_vectors_that_differ_by_a_row_do_not_share_noise():
    parts = level_parts(PRIVACY, 3, columns=1, cells=500, nodes=1, depth=3)
    vector = np.zeros(1000, np.uint64)
    other = vector.copy()
    other[7] += np.uint64(ONE)
    difference = (step(other, parts) - step(vector, parts)).view(np.int64)
    assert np.std(difference[:500] / float(parts[0].variance) ** 0.5) == pytest.approx(
        math.sqrt(2), rel=0.15
    )
    # Control: noise of the step alone, without the vector, would cancel and show the row.
    drawn = noise(noise_seed(SECRET, RUN, 3, 1, vector), parts)
    assert np.flatnonzero((other + drawn) - (vector + drawn)).tolist() == [7]


def test_every_input_of_a_step_changes_its_noise():
    parts = score_parts(PRIVACY, 5, scores=64, depth=3)
    vector = np.zeros(64, np.uint64)
    seen = [
        step(vector, parts),
        step(vector, parts, tree=4),
        step(vector, parts, level=2),
        step(vector, parts, tree=31, level=0),
        step(vector, parts, tree=3, level=10),
        step(vector, parts, run=bytes(32)),
        step(vector, parts, secret=bytes(32)),
    ]
    assert len({one.tobytes() for one in seen}) == len(seen)
    repeated = np.split(noise(SECRET, parts * 2), 2)
    assert (repeated[0] != repeated[1]).any()


def test_sum_is_as_near_a_discrete_gaussian_as_the_bound_says():
    """The log of the ratio of probabilities is within half the bound's tail (10 is for both)."""
    variance, lenders, reach = 0.5, 3, 40
    xs = np.arange(-reach, reach + 1)

    def gaussian(s):
        weights = np.exp(-(xs**2) / (2 * s))
        return weights / weights.sum()

    one = gaussian(variance)
    total = np.convolve(np.convolve(one, one, "same"), one, "same")
    middle = np.abs(xs) <= 8
    ratio = np.abs(np.log(total[middle] / gaussian(variance * lenders)[middle])).max()
    tau = sum_excess(lenders, 4, Fraction(variance)) / 10 * 10
    assert 1e-4 < ratio <= tau
    assert sum_excess(MOST_LENDERS, MAXIMUM_CELLS, LEAST_VARIANCE) < 1e-11
    assert sum_excess(5, 1000, Fraction(2**70)) == 0.0


@pytest.mark.parametrize("lenders", [0, 2, MOST_LENDERS + 1])
def test_impossible_numbers_of_lenders_are_refused(lenders):
    with pytest.raises(PrivacyInvalid):
        level_parts(PRIVACY, lenders, columns=3, cells=9, nodes=1, depth=3)


def test_vector_that_does_not_fit_is_refused():
    parts = score_parts(PRIVACY, 5, scores=64, depth=3)
    for vector in (np.zeros(63, np.uint64), np.zeros(64, np.int64), np.zeros((8, 8), np.uint64)):
        with pytest.raises(PrivacyInvalid):
            step(vector, parts)
    with pytest.raises(PrivacyInvalid):
        step(np.zeros(64, np.uint64), parts, secret=b"short")
    with pytest.raises(PrivacyInvalid):
        noise(SECRET, [Part(MAXIMUM_CELLS + 1, Fraction(1))])
    with pytest.raises(PrivacyInvalid):
        level_parts(PRIVACY, 5, columns=0, cells=9, nodes=1, depth=3)
    assert module.MAXIMUM_EXCESS > 0
