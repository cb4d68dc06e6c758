"""Samples have exactly the discrete Gaussian's probabilities, and a seed repeats them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from federated.privacy import discrete_gaussian
from federated.privacy.discrete_gaussian import MAXIMUM_SAMPLES, MAXIMUM_VARIANCE, sample
from utils.errors import PrivacyInvalid

SEED = bytes(range(32))
WIDE = Fraction(2**73, 11)


def probabilities(variance, reach):
    weights = {x: math.exp(-x * x / (2 * float(variance))) for x in range(-reach, reach + 1)}
    whole = math.fsum(weights.values())
    return {x: weight / whole for x, weight in weights.items()}


@pytest.mark.parametrize(
    "variance", [Fraction(1, 10), Fraction(1, 3), Fraction(4), Fraction(81, 7), Fraction(900)]
)
def test_frequencies_are_those_of_the_discrete_gaussian(variance):
    count = 200_000
    reach = math.ceil(12 * float(variance) ** 0.5) + 8
    expected = probabilities(variance, reach)
    drawn = sample(SEED, count, variance)
    inner = [x for x, p in expected.items() if p * count >= 10]
    observed = [int((drawn == x).sum()) for x in inner]
    observed.append(count - sum(observed))
    wanted = [count * expected[x] for x in inner]
    wanted.append(count - sum(wanted))
    if wanted[-1] < 5:  # the chi-square distribution needs some in every class
        observed[0] += observed.pop()
        wanted[0] += wanted.pop()
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


def test_wide_samples_have_the_variance_and_all_low_bits():
    drawn = sample(SEED, 200_000, WIDE)
    scaled = drawn / float(WIDE) ** 0.5
    assert stats.kstest(scaled, "norm").pvalue > 1e-3
    assert scaled.var() == pytest.approx(1, abs=0.01)
    assert stats.chisquare(np.bincount(drawn & 63)).pvalue > 1e-3


@pytest.mark.parametrize("variance", [Fraction(1, 3), Fraction(81, 7), WIDE])
def test_fast_comparisons_decide_as_exact_ones(variance, monkeypatch):
    fast = sample(SEED, 500, variance)
    monkeypatch.setattr(discrete_gaussian, "_MARGIN", 10.0)  # every comparison is made exactly
    assert sample(SEED, 500, variance).tolist() == fast.tolist()


def test_a_tie_of_64_bits_is_decided_by_further_bits():
    proposals = discrete_gaussian._Proposals(SEED, Fraction(4))
    low, _ = discrete_gaussian._exponential(Fraction(1), 200)
    word, part = divmod(low * 2**64, 1)
    below = [proposals._exactly_below(int(word), Fraction(1), f"{i}") for i in range(1500)]
    assert stats.binomtest(sum(below), len(below), float(part)).pvalue > 1e-3
    again = [proposals._exactly_below(int(word), Fraction(1), f"{i}") for i in range(1500)]
    assert again == below
    assert proposals._exactly_below(int(word) - 1, Fraction(1), "lower")
    assert not proposals._exactly_below(int(word) + 1, Fraction(1), "higher")


def test_tiny_words_give_long_steps_exactly():
    proposals = discrete_gaussian._Proposals(SEED, Fraction(4))
    for word in (1, 2**20, 2**39 + 12345):
        assert proposals._exact_geometric(word, "steps") == math.floor(-math.log(word / 2**64))
    assert proposals._exact_geometric(0, "steps") >= 44  # below 2^-64


def test_seed_repeats_samples_on_every_machine():
    assert sample(SEED, 8, Fraction(81, 7)).tolist() == EXPECTED_NARROW
    assert sample(SEED, 3, WIDE).tolist() == EXPECTED_WIDE
    assert sample(bytes(32), 8, Fraction(81, 7)).tolist() != EXPECTED_NARROW


@pytest.mark.parametrize(
    ("count", "variance"),
    [
        (-1, Fraction(1)),
        (MAXIMUM_SAMPLES + 1, Fraction(1)),
        (1, Fraction(0)),
        (1, Fraction(-1)),
        (1, MAXIMUM_VARIANCE + 1),
    ],
)
def test_sizes_out_of_bounds_are_refused(count, variance):
    with pytest.raises(PrivacyInvalid):
        sample(SEED, count, variance)


EXPECTED_NARROW = [3, -6, 1, 0, 1, -5, -4, 3]
EXPECTED_WIDE = [-16376888198, 13025237855, 3815197476]
