"""Integer scores: within their width for every input, and close to the scaled log-odds."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.encoding import Layout
from model.booster import Ensemble, parse_ensemble
from model.polynomial import evaluate, sample_states
from model.program import decide_program
from model.quantise import nearest_plane, quantise, real_polynomial
from tests.strategies import QUICK, all_bits, ensembles, log_odds, schemas, tiny_schemas
from utils.errors import ModelTooLarge


@pytest.fixture(scope="module")
def ensemble(layout, small_booster):
    return parse_ensemble(json.loads(small_booster), layout)


@pytest.fixture(scope="module")
def many_rows(layout, credit_data):
    sample = layout.bits_of_states(sample_states(layout, 5000, seed=21))
    return np.concatenate([credit_data[1][0], sample])


def assert_fits(quantised, bits):
    half = 1 << (quantised.score_bits - 1)
    scores = evaluate(quantised.polynomial, bits, 1)[:, 0]
    assert -half <= quantised.extremes.low <= scores.min()
    assert scores.max() <= quantised.extremes.high < half


def assert_close(quantised, ensemble, bits):
    scores = evaluate(quantised.polynomial, bits, 1)[:, 0]
    error = np.abs(scores + 0.5 - quantised.scale * log_odds(ensemble, bits))
    assert error.max() <= quantised.rounding_bound + 1e-6


@QUICK
@given(st.data(), st.integers(2, 12))
def test_all_inputs_stay_within_width_and_rounding_bound(data, score_bits):
    layout = Layout(data.draw(tiny_schemas()))
    ensemble = data.draw(ensembles(layout))
    quantised = quantise(ensemble, layout, score_bits)
    bits = all_bits(layout)
    assert quantised.score_bits == score_bits
    assert_fits(quantised, bits)
    assert_close(quantised, ensemble, bits)
    scores = evaluate(quantised.polynomial, bits, 1)
    assert (quantised.plan.evaluate(bits, layout) == scores).all()


@QUICK
@given(st.data())
def test_the_rounding_bound_is_not_much_wider_than_the_actual_error(data):
    layout = Layout(data.draw(tiny_schemas()))
    ensemble = data.draw(ensembles(layout))
    quantised = quantise(ensemble, layout, 8)
    bits = all_bits(layout)
    scores = evaluate(quantised.polynomial, bits, 1)[:, 0]
    error = np.abs(scores + 0.5 - quantised.scale * log_odds(ensemble, bits))
    assert quantised.rounding_bound <= error.max() * 1.001 + 0.01


@pytest.mark.parametrize("score_bits", range(4, 13))
def test_a_trained_model_fits_every_width_and_stays_close(
    layout, ensemble, credit_data, many_rows, score_bits
):
    quantised = quantise(ensemble, layout, score_bits, credit_data[0][0])
    assert_fits(quantised, many_rows)
    assert_fits(quantised, layout.bits_of_states(quantised.extremes.rows))
    assert_close(quantised, ensemble, many_rows)
    half = 1 << (score_bits - 1)
    used = max(-quantised.extremes.low, quantised.extremes.high + 1)
    assert used > 0.8 * half, "most of the width should be used"


def test_wider_scores_agree_more_often_with_the_float_model(layout, ensemble, credit_data):
    bits = credit_data[1][0]
    approved = log_odds(ensemble, bits) >= 0
    agreements = {}
    for score_bits in (5, 8, 12):
        quantised = quantise(ensemble, layout, score_bits, credit_data[0][0])
        scores = evaluate(quantised.polynomial, bits, 1)[:, 0]
        agreements[score_bits] = float(((scores >= 0) == approved).mean())
    assert agreements[5] > 0.9
    assert agreements[8] > 0.97
    assert agreements[12] > 0.995


def test_decisions_beyond_the_rounding_bound_equal_the_float_model(layout, ensemble, many_rows):
    quantised = quantise(ensemble, layout, 8)
    margins = quantised.scale * log_odds(ensemble, many_rows)
    clear = np.abs(margins) > quantised.rounding_bound + 0.5
    scores = evaluate(quantised.polynomial, many_rows, 1)[:, 0]
    assert clear.any()
    assert ((scores >= 0) == (margins >= 0))[clear].all()


def test_nearest_plane_beats_rounding_each_coefficient(layout, ensemble, credit_data):
    bits = credit_data[0][0]
    wanted = log_odds(ensemble, bits)
    terms = real_polynomial(ensemble, layout)
    for score_bits in (6, 8, 10):
        quantised = quantise(ensemble, layout, score_bits, bits)
        naive = {m: np.rint(np.array([c * quantised.scale])) for m, c in terms.items()}
        naive[()] = np.rint(np.array([terms[()] * quantised.scale - 0.5]))
        errors = [
            evaluate({m: c.astype(np.int64) for m, c in p.items()}, bits, 1)[:, 0]
            + 0.5
            - quantised.scale * wanted
            for p in (quantised.polynomial, naive)
        ]
        spread, rounded = (float(np.sqrt(np.mean(e**2))) for e in errors)
        assert spread < rounded


@QUICK
@given(st.data(), st.integers(1, 8))
def test_the_nearest_plane_keeps_babais_bound(data, n):
    """|metric @ error| is at most half the diagonal in every coordinate (Babai 1986)."""
    entry = st.floats(-3, 3)
    metric = np.triu(
        np.array(data.draw(st.lists(entry, min_size=n * n, max_size=n * n))).reshape(n, n), 1
    )
    diagonal = data.draw(st.lists(st.floats(0.1, 3), min_size=n, max_size=n))
    metric += np.diag(diagonal)
    target = np.array(data.draw(st.lists(st.floats(-100, 100), min_size=n, max_size=n)))
    rounded = nearest_plane(target, metric)
    assert rounded.dtype == np.int64
    reached = np.abs(metric @ (target - rounded))
    assert (reached <= np.array(diagonal) / 2 + 1e-6 * (1 + np.abs(rounded).max())).all()


@QUICK
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=8))
def test_nearest_plane_keeps_integers(target):
    n = len(target)
    metric = np.triu(np.random.default_rng(n).normal(size=(n, n)), 1) + np.eye(n)
    assert nearest_plane(np.array(target, float), metric).tolist() == target


@QUICK
@given(st.data(), st.integers(2, 4))
def test_a_narrow_score_either_fits_or_is_refused(data, score_bits):
    layout = Layout(data.draw(schemas(most_parties=3)))
    ensemble = data.draw(ensembles(layout, most_trees=12))
    try:
        quantised = quantise(ensemble, layout, score_bits)
    except ModelTooLarge as error:
        assert f"scores of {score_bits} bits" in error.message
    else:
        assert_fits(quantised, layout.bits_of_states(sample_states(layout, 500, seed=2)))


def test_a_trained_model_in_two_bits_either_fits_or_is_refused(layout, ensemble, many_rows):
    try:
        quantised = quantise(ensemble, layout, 2)
    except ModelTooLarge as error:
        assert "allow more bits or train fewer trees" in error.message
    else:
        assert_fits(quantised, many_rows)


def test_model_that_cannot_fit_is_refused(layout, ensemble, monkeypatch):
    from model import quantise as module

    found = module.extremes

    def too_wide(plan, layout, seconds):
        real = found(plan, layout, seconds)
        return module.Extremes(real.low, max(real.high, 200), real.rows, real.tight)

    monkeypatch.setattr(module, "extremes", too_wide)
    with pytest.raises(ModelTooLarge, match="does not fit into scores of 7 bits"):
        quantise(ensemble, layout, 7)


@pytest.mark.parametrize("score_bits", [-1, 0, 1, 25, 64])
def test_a_width_out_of_range_is_refused(layout, ensemble, score_bits):
    with pytest.raises(ModelTooLarge, match="2 to 24 bits"):
        quantise(ensemble, layout, score_bits)


def test_the_same_model_gives_the_same_program(layout, ensemble, credit_data):
    programs = [
        decide_program(quantise(ensemble, own, 8, credit_data[0][0]), own)
        for own in (layout, Layout(layout.schema))
    ]
    assert programs[0].to_json() == programs[1].to_json()


@pytest.mark.parametrize("base_margin", [0.0, 2.0, -2.0])
def test_model_without_trees_decides_by_its_base_score(layout, base_margin):
    quantised = quantise(Ensemble((), base_margin), layout, 7)
    bits = layout.bits_of_states(sample_states(layout, 30, seed=2))
    scores = evaluate(quantised.polynomial, bits, 1)[:, 0]
    assert len(set(scores.tolist())) == 1
    assert (scores[0] >= 0) == (base_margin >= 0)
