"""The sigmoid and the fixed-point sums have the same bits everywhere, and lose none."""

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest

from federated.boosting.cells import cells_of
from federated.boosting.fixed_point import MAXIMUM_LEAF, MAXIMUM_LENDER_ROWS, gradients, leaf
from federated.boosting.histograms import JointCells
from federated.boosting.sigmoid import exp, sigmoid
from federated.boosting.usable_bits import UsableBits
from tests.federated.boosting.data import plan_of

GRID = np.concatenate([np.linspace(-64, 64, 40_001), np.ldexp(np.arange(-4000.0, 4000.0), -20)])


def slow_sigmoid(x: float) -> float:
    """Return the sigmoid by the same operations on Python's floats, one row at a time."""
    size = -min(abs(x), 64.0)
    exponent = float(round(size * 1.4426950408889634))
    rest = (size - exponent * 6.93147180369123816490e-01) - exponent * 1.90821492927058770002e-10
    total = 1.0 / math.factorial(13)
    for n in range(12, -1, -1):
        total = total * rest + 1.0 / math.factorial(n)
    power = math.ldexp(total, int(exponent))
    return (1.0 if x >= 0 else power) / (1.0 + power)


def test_sigmoid_has_the_bits_of_plain_operations():
    expected = np.array([slow_sigmoid(x) for x in GRID.tolist()])
    assert (sigmoid(GRID).view(np.int64) == expected.view(np.int64)).all()


def test_sigmoid_has_the_bits_that_other_machines_compute():
    """A change of these bits would make lenders of different versions grow different trees."""
    digest = hashlib.sha256(sigmoid(GRID).astype("<f8").tobytes()).hexdigest()
    assert digest == "6e81d7d5d3bf2990f15222d23c1c9c27a09569ddbb586a787282930688befed3"


def test_exp_is_within_two_units_in_the_last_place():
    x = np.linspace(-64, 0, 20_001)
    expected = np.array([math.exp(value) for value in x.tolist()])
    assert (np.abs(exp(x) - expected) <= 2 * np.spacing(expected)).all()


def test_gradients_of_extreme_margins_stay_within_their_bounds():
    margins = np.array([-(1 << 40), -1, 0, 1, 1 << 40], np.int64)
    for outcome in (0, 1):
        g, h = gradients(margins, np.full(5, outcome, np.int8))
        assert g[0] == -(outcome << 30) and g[-1] == (1 - outcome) << 30
        assert g[2] == (1 << 29) - (outcome << 30) and h[2] == 1 << 28
        assert (np.abs(g) <= 1 << 30).all() and ((h >= 0) & (h <= 1 << 28)).all()


def test_leaf_is_rounded_half_to_even_and_clipped():
    unit = 2.0**-20
    weights = [0.5 * unit, 1.5 * unit, -2.5 * unit, 1e9, -1e9]
    assert [leaf(w) for w in weights] == [0, 2, -2, MAXIMUM_LEAF, -MAXIMUM_LEAF]
    assert np.float32(MAXIMUM_LEAF / 2**20) * 2**20 == MAXIMUM_LEAF


def test_sums_as_large_as_a_lender_can_have_are_exact():
    """Rows of 2^40 stand for the 2^22 rows of 2^30 that a lender may have."""
    plan = plan_of(optional=False)
    cells = cells_of(plan, UsableBits(bits=tuple(range(plan.layout.n_bits)), rows=4096))
    states = np.zeros((len(plan.layout.codes), 4096), np.uint8)
    g = np.full(4096, MAXIMUM_LENDER_ROWS * (1 << 30) // 4096 - 1, np.int64)
    g[0] += 3
    sums = JointCells(cells, states).histogram(np.zeros(4096, np.uint8), (0,), g, -g)
    total = sum(g.tolist())
    assert sums[0, 0, cells.first].tolist() == [total] * len(cells.columns)
    assert sums[0, 1, cells.first].tolist() == [-total] * len(cells.columns)
    # Larger values would be rounded: the bound on rows is needed.
    assert float(total * 4 + 1) != total * 4 + 1


@pytest.mark.parametrize("outcome", [0, 1])
def test_gradients_are_the_nearest_fixed_point_numbers(outcome):
    margins = np.arange(-(9 << 20), 9 << 20, 99_991, dtype=np.int64)
    g, h = gradients(margins, np.full(len(margins), outcome, np.int8))
    for m, own_g, own_h in zip(margins.tolist(), g.tolist(), h.tolist(), strict=True):
        p = Fraction(1 / (1 + math.exp(-m / 2**20)))
        # Half a unit, and the error of the float that stands for p here.
        assert abs((p - outcome) * 2**30 - own_g) <= 0.500001
        assert abs(p * (1 - p) * 2**30 - own_h) <= 0.500001
