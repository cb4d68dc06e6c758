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


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(0, 2**32),
    st.integers(1, 2**45),
)
def test_columns_agree_within_one_of_least_squares(sizes, seed, width):
    cells = sum(sizes)
    noisy = np.random.default_rng(seed).integers(-width, width, (2, 2, cells))
    fixed = consistent(noisy, sizes)
    totals = sums(fixed, sizes)
    assert (totals == totals[..., :1]).all()
    # The projection onto histograms whose columns have equal sums.
    ends = np.cumsum(sizes)
    rows = np.zeros((len(sizes) - 1, cells))
    for i in range(len(sizes) - 1):
        rows[i, ends[i] - sizes[i] : ends[i]] = 1
        rows[i, ends[i + 1] - sizes[i + 1] : ends[i + 1]] = -1
    flat = noisy.reshape(-1, cells).T.astype(float)
    nearest = flat - np.linalg.pinv(rows) @ (rows @ flat) if len(rows) else flat
    assert np.abs(fixed.reshape(-1, cells).T - nearest).max() <= 1.5 + width * 1e-9


def test_histograms_that_agree_already_are_unchanged():
    histograms = np.array([[3, 5, 1, 1, 6], [-2, 2, 0, 4, -4]])
    assert (consistent(histograms, [2, 3]) == histograms).all()


def test_noise_of_the_sum_of_all_rows_falls():
    sizes = [2, 14, 14, 5, 6]
    noisy = np.rint(RNG.normal(0, 1e6, (4000, sum(sizes)))).astype(np.int64)
    before = sums(noisy, sizes).std(axis=0) / 1e6
    after = sums(consistent(noisy, sizes), sizes).std(axis=0) / 1e6
    assert before == pytest.approx(np.sqrt(sizes), rel=0.05)
    assert after == pytest.approx((1 / (1 / np.array(sizes)).sum()) ** 0.5, rel=0.05)


@pytest.mark.parametrize("sizes", [[], [3], [0, 5], [4, 2]])
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(PrivacyInvalid):
        consistent(np.zeros((1, 2, 5), np.int64), sizes)
