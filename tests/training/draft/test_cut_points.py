"""Cut points are round, rise, and never isolate few rows."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.draft.cut_points import cut_points, fewest_rows, limits, roundest

finite = st.floats(-1e12, 1e12, allow_nan=False).map(lambda x: float(f"{x:.6g}"))


@given(
    st.lists(finite, min_size=1, max_size=30),
    st.lists(st.integers(0, 29), min_size=40, max_size=400),
    st.integers(2, 64),
)
@settings(max_examples=30, deadline=None)
def test_every_bin_keeps_its_rows_and_lies_within_the_limits(numbers, drawn, bins):
    values = np.array([numbers[i % len(numbers)] for i in drawn])
    fewest = fewest_rows(len(values))
    cuts = cut_points(values, bins, fewest, integer=False)
    assert len(cuts) < bins and cuts == sorted(set(cuts))
    rows = np.bincount(np.searchsorted(cuts, values, side="right"), minlength=len(cuts) + 1)
    if cuts:
        assert rows.min() >= fewest == 20
        minimum, maximum = limits(values, cuts, fewest)
        assert minimum < cuts[0] and cuts[-1] <= maximum
    else:  # no division leaves enough rows on both sides
        below = np.cumsum(np.unique(values, return_counts=True)[1])[:-1]
        assert not ((below >= fewest) & (len(values) - below >= fewest)).any()


@pytest.mark.parametrize(
    ("low", "high", "near", "found"),
    [
        (17, 43, 25, 20),
        (47_000, 86_000, 60_000, 50_000),
        (-3, 4, 2, 0),
        (0.0312, 0.0377, 0.034, 0.035),
        (36, 37, 37, 37),
        (1.0, 1.0000000000000002, 1, 1.0000000000000002),
    ],
)
def test_roundest_number_between_two_values(low, high, near, found):
    assert roundest(low, high, near) == found


def test_cuts_are_round_numbers_near_the_quantiles():
    values = np.round(np.random.default_rng(1).lognormal(10, 0.8, 20_000))
    cuts = cut_points(values, 16, fewest_rows(len(values)), integer=True)
    assert len(cuts) == 15
    assert all(len(Decimal(repr(cut)).normalize().as_tuple().digits) <= 2 for cut in cuts)
    rows = np.bincount(np.searchsorted(cuts, values, side="right"))
    assert rows.max() < 3 * len(values) / 16


def test_half_a_percent_of_many_rows_is_more_than_twenty():
    values = np.concatenate([np.zeros(39_900), np.arange(1, 101)])
    assert fewest_rows(len(values)) == 200
    assert cut_points(values, 16, 200, integer=True) == []


def test_an_outlier_sets_neither_limit():
    values = np.concatenate([np.arange(18, 78).repeat(5), [-(10.0**9), 10.0**9]])
    minimum, maximum = limits(values, cut_points(values, 8, 20, integer=True), 20)
    assert -100 <= minimum < 30 and 70 <= maximum <= 100
