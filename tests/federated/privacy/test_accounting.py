"""The budget is that of the published formula, within known bounds, and grows as it should."""

from __future__ import annotations

import math
import sys

import pytest
from scipy import optimize, stats

from federated.privacy import accounting
from federated.privacy.accounting import (
    Releases,
    multiplier_for,
    multiplier_left,
    planned,
    spent,
)
from federated.privacy.parameters import MAXIMUM_MULTIPLIER, Privacy
from utils.errors import AccountantMissing, PrivacyInvalid

RUN = planned(60, 3)


def epsilon(multiplier, delta, releases, lenders=5, **more):
    privacy = Privacy(noise_multiplier=multiplier, delta=delta)
    return spent(privacy, releases, lenders=lenders, **more)


@pytest.mark.parametrize("multiplier", [3.0, 10.0, 40.0, 200.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_budget_is_that_of_the_published_conversion(multiplier, delta):
    """The infimum over all orders of Canonne, Kamath and Steinke (NeurIPS 2020), proposition 12."""
    rho = RUN.of_one_row() / (2 * multiplier**2)

    def at(logarithm):
        order = 1 + math.exp(logarithm)
        return order * rho + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)

    best = optimize.minimize_scalar(at, bounds=(-4, 9), method="bounded")
    assert epsilon(multiplier, delta, RUN) == pytest.approx(best.fun, rel=1e-4)


@pytest.mark.parametrize("multiplier", [3.0, 10.0, 40.0, 200.0])
@pytest.mark.parametrize("delta", [1e-5, 1e-9])
def test_budget_lies_between_the_exact_one_and_the_simple_bound(multiplier, delta):
    """Exact for continuous noise: Balle and Wang, ICML 2018; bound: Bun and Steinke, TCC 2016."""
    count = RUN.of_one_row()
    mu = math.sqrt(count) / multiplier
    rho = mu**2 / 2

    def excess(e):
        tail = math.exp(e + stats.norm.logcdf(-mu / 2 - e / mu))
        return stats.norm.cdf(mu / 2 - e / mu) - tail - delta

    exact = optimize.brentq(excess, 1e-6, 500)
    simple = rho + 2 * math.sqrt(rho * math.log(1 / delta))
    assert exact < epsilon(multiplier, delta, RUN) < simple
    assert epsilon(multiplier, delta, RUN) < 1.15 * exact


def test_a_row_spends_on_its_side_of_the_validation_split_only():
    assert (RUN.levels, RUN.scores, RUN.depth) == (180, 60, 3)
    assert RUN.of_one_row() == 181
    # Trees that ended early: the scores weigh more than the levels.
    assert Releases(levels=100, scores=60, depth=3).of_one_row() == 181
    assert Releases(levels=100, scores=20, depth=3).of_one_row() == 101
    assert epsilon(20, 1e-6, RUN) == epsilon(20, 1e-6, Releases(180, 0, 3))


def test_budget_rises_with_releases_and_falls_with_noise_and_delta():
    growing = [epsilon(20, 1e-6, planned(trees, 3)) for trees in (1, 2, 10, 60, 300)]
    assert growing == sorted(set(growing))
    assert 0 < epsilon(20, 1e-6, Releases(0, 0, 3)) < growing[0]  # the count at the start
    falling = [epsilon(multiplier, 1e-6, RUN) for multiplier in (1, 5, 25, 125, 10_000)]
    assert falling == sorted(set(falling), reverse=True)
    assert epsilon(20, 1e-9, RUN) > epsilon(20, 1e-5, RUN)


@pytest.mark.parametrize("target", [0.25, 1, 4, 16])
def test_multiplier_spends_the_budget_and_no_more(target):
    multiplier = multiplier_for(target, 1e-6, RUN)
    assert epsilon(multiplier, 1e-6, RUN) <= target
    assert epsilon(multiplier * 0.999, 1e-6, RUN) > target


def test_noise_left_depends_on_who_is_present_and_who_colludes():
    privacy = Privacy(noise_multiplier=20, delta=1e-6)  # 5 lenders: at least 4 in a sum
    assert multiplier_left(privacy, lenders=5) == 20
    assert multiplier_left(privacy, lenders=5, present=5) == pytest.approx(20 * math.sqrt(5 / 4))
    assert multiplier_left(privacy, lenders=5, colluding=1) == pytest.approx(20 * math.sqrt(3 / 4))
    assert epsilon(20, 1e-6, RUN, present=5) < epsilon(20, 1e-6, RUN)
    assert epsilon(20, 1e-6, RUN) < epsilon(20, 1e-6, RUN, colluding=1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"lenders": 2},
        {"lenders": 5, "present": 3},
        {"lenders": 5, "present": 6},
        {"lenders": 5, "colluding": 4},
        {"lenders": 5, "colluding": -1},
    ],
)
def test_impossible_rosters_are_refused(arguments):
    with pytest.raises(PrivacyInvalid):
        multiplier_left(Privacy(noise_multiplier=1, delta=1e-6), **arguments)


def test_impossible_budgets_are_refused():
    for target, delta in ((0, 1e-6), (math.nan, 1e-6), (math.inf, 1e-6), (1, 0), (1, 1)):
        with pytest.raises(PrivacyInvalid):
            multiplier_for(target, delta, RUN)
    with pytest.raises(PrivacyInvalid):
        multiplier_for(1e-6, 1e-6, planned(300, 4))
    with pytest.raises(PrivacyInvalid):
        Releases(-1, 0, 3).of_one_row()
    assert multiplier_for(1e6, 1e-6, Releases(0, 0, 3)) < MAXIMUM_MULTIPLIER


def test_missing_library_is_named_with_its_extra(monkeypatch):
    accounting._library.cache_clear()
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(AccountantMissing, match=r"\[privacy\]"):
        epsilon(20, 1e-6, RUN)
