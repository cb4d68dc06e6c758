"""Measures of a report equal those of libraries and closed forms, and repeat exactly."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from sklearn.metrics import brier_score_loss, roc_auc_score

from training.calibration import Isotonic, Platt
from training.report import resampling
from training.report.estimates import auc, gini, percentile_interval, share
from training.report.quality import brier, calibration_bins, default_probabilities, ks
from training.report.resampling import resampled
from training.report.stability import chance, psi, verdict

ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=6, max_size=40)


@given(ROWS)
@settings(max_examples=30, deadline=None)
def test_auc_and_its_interval_are_those_of_delong_by_pairs(rows):
    y, scores = (np.array(column) for column in zip(*rows, strict=True))
    good, bad = scores[y == 1], scores[y == 0]
    if min(len(good), len(bad)) < 2:
        return
    wins = (good[:, None] > bad) + 0.5 * (good[:, None] == bad)
    variance = wins.mean(1).var(ddof=1) / len(good) + wins.mean(0).var(ddof=1) / len(bad)
    found = auc(y, scores)
    assert found.value == pytest.approx(roc_auc_score(y, scores))
    if variance > 1e-12:
        half = 1.959964 * math.sqrt(variance)
        assert found.low == pytest.approx(max(0, found.value - half), abs=1e-6)
        assert found.high == pytest.approx(min(1, found.value + half), abs=1e-6)
    assert gini(found).low == pytest.approx(2 * found.low - 1)


def test_a_perfect_auc_of_few_rows_has_a_wide_interval():
    found = auc(np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([5, 6, 7, 0, 1, 2, 3, 4]))
    assert found.value == 1 and found.high == pytest.approx(1)
    assert found.low == pytest.approx(3 / (3 + 1.959964**2))  # Wilson's, for 3 of 3
    assert auc(np.ones(4, np.int8), np.arange(4)) is None


def test_a_share_has_wilsons_interval():
    found, square = share(7, 20), 1.959964**2
    centre = (7 + square / 2) / (20 + square)
    half = math.sqrt(square) / (20 + square) * math.sqrt(7 * 13 / 20 + square / 4)
    assert (found.low, found.high) == (
        pytest.approx(centre - half, abs=1e-6),
        pytest.approx(centre + half, abs=1e-6),
    )
    assert share(0, 0) is None


@pytest.fixture(scope="module")
def scored():
    """Outcomes, and probabilities of default that are right."""
    generator = np.random.default_rng(5)
    defaults = generator.beta(1.5, 4, 3000)
    return (generator.random(3000) > defaults).astype(np.int8), defaults


def test_ks_and_brier_equal_the_libraries(scored):
    y, defaults = scored
    scores = np.round(100 * (1 - defaults))
    found = ks(y, scores)
    assert found.value == pytest.approx(ks_2samp(scores[y == 1], scores[y == 0]).statistic)
    assert found.low < found.value < found.high
    assert found == ks(y, scores)
    error = brier(y, 1 - defaults)
    assert error.value == pytest.approx(brier_score_loss(y, 1 - defaults))
    assert error.low < error.value < error.high


def test_calibration_bins_cover_all_rows_and_right_probabilities_lie_within(scored):
    y, defaults = scored
    bins = calibration_bins(y, defaults)
    assert len(bins) == 10 and sum(line["rows"] for line in bins) == len(y)
    assert [b["predicted"] for b in bins] == sorted(b["predicted"] for b in bins)
    inside = [line["low"] <= line["predicted"] <= line["high"] for line in bins]
    assert sum(inside) >= 8
    observed = sum(line["rows"] * line["observed"] for line in bins)
    assert observed == pytest.approx((y == 0).sum())
    assert len(calibration_bins(y[:70], defaults[:70])) == 2  # about 30 rows or more in each


def test_probabilities_are_those_of_the_calibration_or_the_logistic_function():
    margins = np.array([-2.0, 0.0, 1.0])
    plain, source = default_probabilities(margins, None)
    assert plain == pytest.approx(1 / (1 + np.exp(margins))) and "not calibrated" in source
    platt, source = default_probabilities(margins, Platt(2.0, 0.5))
    assert platt == pytest.approx(1 / (1 + np.exp(2 * margins + 0.5))) and "Platt" in source
    isotonic, _ = default_probabilities(margins, Isotonic((-1.0, 1.0), (0.2, 0.6), 50))
    assert isotonic == pytest.approx([0.8, 0.6, 0.4])


@given(st.lists(st.integers(0, 500), min_size=2, max_size=12), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_psi_of_equal_shares_is_0_and_any_other_is_positive_and_finite(counts, factor):
    before = np.array(counts)
    if not before.sum():
        return
    assert psi(before, factor * before) == pytest.approx(0, abs=1e-12)
    now = np.roll(before, 1)
    assert 0 <= psi(before, now) < math.inf
    assert psi(before, now) == pytest.approx(psi(now, before))


def test_psi_of_a_closed_form_and_its_verdicts():
    found = psi(np.array([500, 500]), np.array([60, 40]))
    assert found == pytest.approx(0.1 * math.log(0.6 / 0.5) - 0.1 * math.log(0.4 / 0.5))
    assert [verdict(v) for v in (0.099, 0.1, 0.249, 0.25)] == [
        "stable",
        "some shift",
        "some shift",
        "large shift",
    ]


def test_psi_exceeds_its_chance_value_in_about_one_of_twenty_samples():
    generator, shares = np.random.default_rng(3), np.array([0.1, 0.2, 0.3, 0.4])
    pairs = [[generator.multinomial(n, shares) for n in (600, 200)] for _ in range(600)]
    exceeded = np.mean([psi(a, b) > chance(a, b) for a, b in pairs])
    assert 0.02 < exceeded < 0.09


def test_resamples_repeat_whatever_is_in_memory_at_once(monkeypatch):
    counts = np.array([30, 20, 50])
    whole = resampled(counts, lambda drawn: drawn)
    assert (whole.sum(axis=1) == 100).all() and len(whole) == 1000
    assert whole.mean(axis=0) == pytest.approx(counts, abs=1)
    monkeypatch.setattr(resampling, "_MOST_COUNTS", 21)
    assert (resampled(counts, lambda drawn: drawn) == whole).all()


def test_an_interval_needs_most_of_its_resamples():
    drawn = np.linspace(0, 1, 1001)
    found = percentile_interval(0.5, drawn)
    assert (found.low, found.high) == (pytest.approx(0.025), pytest.approx(0.975))
    drawn[:200] = np.nan
    assert percentile_interval(0.5, drawn) is None
    assert percentile_interval(math.nan, drawn) is None
