"""AUC with its error, cross-validation, calibration and the decision rule, on invented scores."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from features.encoding import Layout
from features.schema import Scale
from model.booster import parse_booster
from model.polynomial import sample_states
from tests.strategies import SLOW
from tests.training.risk_data import FREE, SCHEMA, risk_rows
from training.applied_rule import apply_rule, score_table
from training.calibration import Isotonic, Platt, calibrate, from_document
from training.decision_rule import Rule, cut_off, with_cut_off
from training.frontier import Entry, choose
from training.models import Rows, Shape, Stage, fit, log_odds, model_json
from training.score_scale import points_of
from training.validation import auc_of, cross_validated
from utils.errors import TrainingDataInvalid

LAYOUT = Layout(SCHEMA)
SMALL_SHAPE = Shape("small", (Stage(10, 2),))


@pytest.fixture(scope="module")
def rows():
    return risk_rows(600, seed=4)


@pytest.fixture(scope="module")
def booster(rows):
    return fit(SMALL_SHAPE, LAYOUT, rows.bits, rows.y)


def draws(slope=1.0, intercept=0.0, size=6000, seed=1):
    """Return margins and outcomes that are good with log-odds slope * margin + intercept."""
    generator = np.random.default_rng(seed)
    margins = generator.normal(0.5, 1.5, size)
    good = generator.random(size) < expit(slope * margins + intercept)
    return margins, good.astype(np.int8)


# --- AUC and cross-validation


@given(
    st.lists(st.integers(0, 6), min_size=4, max_size=40),
    st.lists(st.integers(0, 6), min_size=4, max_size=40),
)
@SLOW
def test_auc_and_its_error_are_those_of_all_pairs(good, bad):
    """The definition by pairs, with ties counted as half: DeLong et al. 1988, equations 2 to 5."""
    scores, y = np.array(good + bad), np.array([1] * len(good) + [0] * len(bad), np.int8)
    pairs = np.greater.outer(good, bad) + 0.5 * np.equal.outer(good, bad)
    variance = pairs.mean(axis=1).var(ddof=1) / len(good)
    variance += pairs.mean(axis=0).var(ddof=1) / len(bad)
    found = auc_of(y, scores)
    assert found.value == pytest.approx(pairs.mean()) == pytest.approx(roc_auc_score(y, scores))
    assert found.error == pytest.approx(math.sqrt(variance))


def test_interval_covers_the_true_auc_as_often_as_it_says():
    """Normal scores of equal variance, one apart: AUC = Phi(1 / sqrt 2)."""
    generator = np.random.default_rng(2)
    y = np.repeat([1, 0], [60, 40]).astype(np.int8)
    inside = 0
    for _ in range(400):
        low, high = auc_of(y, generator.normal(y, 1.0)).interval
        inside += low <= 0.76025 <= high
    assert 0.91 <= inside / 400 <= 0.98


def test_cross_validation_uses_no_row_for_its_own_score(rows):
    """With labels by chance, boosters that fit their training rows are worthless on others."""
    layout = Layout(FREE)
    chance = Rows(rows.bits[:200], np.random.default_rng(3).permutation(rows.y[:200]))
    deep = Shape("deep", (Stage(15, 4, learning_rate=0.9),))
    (found,) = cross_validated([deep], layout, chance, seed=5)
    assert abs(found.auc.value - 0.5) < 3 * found.auc.error < 0.2
    inside = log_odds(fit(deep, layout, chance.bits, chance.y), chance.bits)
    assert roc_auc_score(chance.y, inside) > 0.5 + 5 * found.auc.error  # the control


def test_cheapest_shape_within_one_error_of_the_best_is_chosen():
    def entry(auc, products):
        return Entry("x", auc, auc, 0.7, 1.0, 12, None, None, products)

    entries = [entry(0.79, 0), entry(0.782, 3), entry(0.80, 9)]
    assert choose(entries, 0.80, tolerance=0.015) == 0
    assert choose(entries, 0.80, tolerance=0.002) == 2


# --- calibration


def test_platt_recovers_the_curve_that_drew_the_outcomes():
    margins, y = draws(slope=0.7, intercept=-0.8)
    found = calibrate("platt", margins, y)
    assert isinstance(found, Platt)
    assert (found.slope, found.intercept) == pytest.approx((0.7, -0.8), abs=0.1)


def test_platt_undoes_the_weights_of_training():
    """Rows of bad outcomes that stand for more of the population raise the default probability."""
    margins, y = draws()
    plain = calibrate("platt", margins, y)
    weighted = calibrate("platt", margins, y, np.where(y == 0, 3.0, 1.0))
    shift = plain.log_odds(np.zeros(1)) - weighted.log_odds(np.zeros(1))
    assert shift == pytest.approx(math.log(3), abs=0.1)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibrated_probabilities_are_the_observed_shares(kind):
    margins, y = draws(slope=1.4, intercept=0.4)
    found = calibrate(kind, margins, y)
    fresh, outcome = draws(slope=1.4, intercept=0.4, seed=2)
    order = np.argsort(fresh)
    for group in np.array_split(order, 5):
        assert found.good(fresh)[group].mean() == pytest.approx(outcome[group].mean(), abs=0.05)
    assert from_document(json.loads(json.dumps(found.document()))) == found


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_score_that_falls_with_good_outcomes_has_no_calibration(kind):
    margins, y = draws()
    with pytest.raises(TrainingDataInvalid, match="does not go with fewer defaults"):
        calibrate(kind, -margins, y)


def test_isotonic_cut_off_outside_its_range_is_refused():
    found = Isotonic((0.0, 1.0), (0.6, 0.8), 100)
    assert found.margin_at(0.7) == pytest.approx(0.5)
    for good, word in ((0.5, "every"), (0.9, "no")):
        with pytest.raises(TrainingDataInvalid, match=f"{word} row .*between 0.2 and 0.4"):
            found.margin_at(good)


# --- the rule and its folding


@pytest.mark.parametrize("rule", [Rule("approve-below", 0.1), Rule("cost-ratio", 9.0)])
@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_probability_at_the_cut_off_is_the_one_asked_for(rule, kind):
    """A loss of 9 gains is worth a default probability of 1 in 10."""
    margins, y = draws()
    found = calibrate(kind, margins, y)
    margin = cut_off(rule, found, margins)
    assert 1 - found.good(np.array([margin]))[0] == pytest.approx(0.1)
    bad = 1 - y[(margins > margin - 0.25) & (margins < margin + 0.25)].mean()
    assert bad == pytest.approx(0.1, abs=0.04)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30), st.floats(0.01, 0.99))
@SLOW
def test_approval_rate_is_the_nearest_possible(values, share):
    margins = np.array(values, np.float64)
    rule = Rule("approval-rate", share)
    if len(set(values)) == 1:
        with pytest.raises(TrainingDataInvalid):
            cut_off(rule, None, margins)
        return
    approved = (margins > cut_off(rule, None, margins)).mean()
    between = [(margins > value).mean() for value in sorted(set(values))[:-1]]
    assert abs(approved - share) == pytest.approx(min(abs(b - share) for b in between))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("approve-below", value) for value in (0.0, 1.0, math.nan)),
        *(("cost-ratio", value) for value in (-1.0, math.inf)),
        ("approval-rate", 5.0),
    ],
)
def test_impossible_values_of_a_rule_are_refused(kind, value):
    with pytest.raises(TrainingDataInvalid, match=f"--{kind} must be a number from"):
        Rule(kind, value)


def test_rule_without_calibration_is_refused_with_a_way_out():
    with pytest.raises(TrainingDataInvalid, match="--approval-rate"):
        cut_off(Rule("approve-below", 0.05), None, np.array([0.0, 1.0]))


@given(margin=st.floats(-8, 8, allow_subnormal=False))
@settings(SLOW, max_examples=8)
def test_saved_booster_decides_by_the_cut_off(booster, margin):
    """XGBoost reads the file with the cut-off and decides as the trees with a threshold."""
    bits = LAYOUT.bits_of_states(sample_states(LAYOUT, 60, seed=6))
    data, shift = with_cut_off(model_json(booster), margin)
    assert shift == pytest.approx(margin, abs=2e-3)
    again = xgboost.Booster()
    again.load_model(bytearray(data))
    before, after = log_odds(booster, bits), log_odds(again, bits)
    single = 1e-5 + 1e-7 * math.exp(-margin)  # XGBoost's own rounding of a base score near 1
    assert after == pytest.approx(before - shift, abs=single)
    clear = np.abs(before - margin) > 2e-3
    assert ((after > 0) == (before > margin))[clear].all()
    ensemble = parse_booster(data, LAYOUT)
    ours = ensemble.base_margin + ensemble.leaf_values(bits).sum(axis=1)
    assert ours == pytest.approx(after, abs=single)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_calibration_of_the_saved_booster_gives_the_same_probabilities(rows, booster, kind):
    margins = log_odds(booster, rows.bits)
    scale = Scale()
    ruled = apply_rule(Rule("approve-below", 0.3), kind, scale, model_json(booster), margins, rows)
    original = calibrate(kind, margins, rows.y)
    assert ruled.calibration is not None
    assert ruled.calibration.good(margins - ruled.shift) == pytest.approx(original.good(margins))
    assert ruled.facts["cut_off_probability"] == pytest.approx(0.3, abs=1e-4)
    approved = margins > ruled.shift
    assert ruled.facts["approved_share"] == approved.mean()
    assert ruled.facts["bad_rate_approved"] == pytest.approx(1 - rows.y[approved].mean())
    assert ruled.facts["bad_rate_denied"] > ruled.facts["bad_rate_approved"]
    shares = [line["approved_share"] for line in ruled.cut_offs]
    assert shares == sorted(shares, reverse=True)
    table = score_table(ruled, scale, margins - ruled.shift, rows.y)
    assert table["unit"] == "points" and sum(d["rows"] for d in table["deciles"]) == len(rows.y)
    assert table["deciles"][0]["bad_rate"] > table["deciles"][-1]["bad_rate"]


def test_points_double_the_odds():
    """600 points at 30 to 1, and 20 points for twice the odds."""
    found = points_of(logit([30 / 31, 60 / 61, 15 / 16]), Scale(), Platt(1.0, 0.0))
    assert found == pytest.approx([600, 620, 580])
    assert points_of(np.array([math.log(30)]), Scale(), Platt(1.0, math.log(2))) == (
        pytest.approx([620])
    )
