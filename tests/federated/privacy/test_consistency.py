"""Noisy histograms agree on the sum of all rows, by least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.privacy.consistency import consistent
from utils.errors import PrivacyInvalid

RNG = np.random.default_rng(0)


def sums(histograms, sizes):
    return np.add.reduceat(histograms, np.cumsum([0, *sizes[:-1]]), axis=-1)


@st.composite
def shapes(draw):
    """Return the columns' sizes, and the cells that are possible: one or more in each column."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    possible = []
    for size in sizes:
        own = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        own[draw(st.integers(0, size - 1))] = True
        possible += own
    return sizes, np.array(possible)


@given(shapes(), st.integers(0, 2**32), st.integers(1, 2**45))
def test_columns_agree_within_one_of_least_squares(shape, seed, width):
    sizes, possible = shape
    cells = sum(sizes)
    noisy = np.random.default_rng(seed).integers(-width, width, (2, cells))
    fixed = consistent(noisy, sizes, possible)
    totals = sums(fixed, sizes)
    assert (totals == totals[..., :1]).all()
    assert not fixed[:, ~possible].any()
    # The projection onto histograms whose columns have equal sums, over the possible cells.
    column = np.repeat(np.arange(len(sizes)), sizes)
    rows = [
        ((column == i).astype(float) - (column == i + 1)) * possible for i in range(len(sizes) - 1)
    ]
    nearest = np.where(possible, noisy, 0).T.astype(float)
    if rows:
        nearest -= np.linalg.pinv(np.array(rows)) @ (np.array(rows) @ nearest)
    assert np.abs(fixed.T - nearest).max() <= 1.5 + width * 1e-13


def test_histograms_that_agree_already_are_unchanged():
    histograms = np.array([[3, 5, 1, 1, 6], [-2, 2, 0, 4, -4]])
    assert (consistent(histograms, [2, 3], np.ones(5, bool)) == histograms).all()


def test_noise_of_the_sum_of_all_rows_falls():
    sizes = [2, 14, 14, 5, 6]
    everywhere = np.ones(sum(sizes), bool)
    noisy = np.rint(RNG.normal(0, 1e6, (4000, sum(sizes)))).astype(np.int64)
    before = sums(noisy, sizes).std(axis=0) / 1e6
    after = sums(consistent(noisy, sizes, everywhere), sizes).std(axis=0) / 1e6
    assert before == pytest.approx(np.sqrt(sizes), rel=0.05)
    assert after == pytest.approx((1 / (1 / np.array(sizes)).sum()) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("sizes", "possible"),
    [
        ([], [1] * 5),
        ([3], [1] * 5),
        ([0, 5], [1] * 5),
        ([4, 2], [1] * 5),
        ([2, 3], [1] * 4),
        ([2, 3], [0, 0, 1, 1, 1]),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, possible):
    with pytest.raises(PrivacyInvalid):
        consistent(np.zeros((2, 5), np.int64), sizes, np.array(possible, bool))
