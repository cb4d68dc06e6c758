"""Quantisation of real log-odds to integer scores of a given width, valid for all inputs.

If each coefficient were rounded on its own, the errors could add up to several score units.
Instead the coefficients are rounded one after another, and the error of each is distributed over
the remaining ones, so that the score stays close rather than each coefficient: Babai's
nearest-plane algorithm (Combinatorica 6, 1986) in the metric of a calibration sample. The scale is
as large as the proven extremes of the integer score allow. Directions that the schema asks for and
that every tree keeps are kept by the integer score too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from model.booster import Ensemble
from model.extremes import Extremes, extremes
from model.monotone import directions, kept_by_trees, with_directions
from model.plan import Plan, make_plan
from model.polynomial import ONE, Monomial, Polynomial, indicator, sample_states
from utils.errors import ModelTooLarge

MAXIMUM_SCORE_BITS = 24
_ATTEMPTS = 6
_CALIBRATION_ROWS = 8000
_RANDOM_ROWS = 2000
_FINE = 2.0**20


@dataclass(frozen=True)
class Quantised:
    """A polynomial with one output, the integer score.

    `grey` is the width of the schema's grey zone in units of the score, 0 without one: scores from
    -grey to -1 are referred, and the score plus `grey` is in the range of `score_bits` as well.

    For every input |score + 1/2 - scale * log-odds| <= rounding_bound, so the sign of the score
    equals that of the log-odds, up to this bound.
    """

    polynomial: Polynomial
    plan: Plan
    scale: float
    score_bits: int
    rounding_bound: float
    extremes: Extremes
    grey: int = 0


def real_polynomial(ensemble: Ensemble, layout: Layout) -> dict[Monomial, float]:
    """Return the log-odds as a polynomial with real coefficients."""
    terms: dict[Monomial, float] = {ONE: ensemble.base_margin}
    for tree in ensemble.trees:
        for leaf in tree.leaves:
            for monomial, sign in indicator(leaf.path, layout).items():
                terms[monomial] = terms.get(monomial, 0.0) + sign * leaf.value
    return {monomial: value for monomial, value in terms.items() if value or monomial == ONE}


def quantise(
    ensemble: Ensemble,
    layout: Layout,
    score_bits: int,
    calibration: Bits | None = None,
    seconds: float = 15.0,
) -> Quantised:
    """Round an ensemble to scores of `score_bits` bits (signed, 2 to 24).

    `calibration` (rows, n_bits) is a sample of common inputs; without it, all states are equally
    likely. `seconds` limits each search for an extreme. Raises ModelTooLarge if no scale fits.
    """
    if not 2 <= score_bits <= MAXIMUM_SCORE_BITS:
        raise ModelTooLarge(f"A score has 2 to {MAXIMUM_SCORE_BITS} bits, not {score_bits}.")
    low, high = -(1 << (score_bits - 1)), (1 << (score_bits - 1)) - 1
    terms = real_polynomial(ensemble, layout)
    monomials = sorted(terms, key=lambda m: (len(m), m))
    coefficients = np.array([terms[m] for m in monomials])
    metric = _metric(monomials, layout, calibration)
    reals = _plan_of_reals(monomials, coefficients, layout)
    margin = extremes(reals, layout, seconds)
    kept = kept_by_trees(ensemble, layout, directions(layout.schema))
    zone = layout.schema.decision.refer_below or 0.0
    above = margin.high + round(zone * _FINE)
    scale = _FINE * min((high + 0.5) / max(above, 1), (low + 0.5) / min(margin.low, -1))
    for _ in range(_ATTEMPTS):
        target = coefficients * scale
        target[0] -= 0.5
        rounded = nearest_plane(target, metric)
        polynomial: Polynomial = {
            m: np.array([value], np.int64)
            for m, value in zip(monomials, rounded, strict=True)
            if value
        }
        polynomial = with_directions(polynomial, layout, kept, seconds)
        plan = make_plan(polynomial, 1, layout)
        found = extremes(plan, layout, seconds)
        grey = max(1, round(zone * scale)) if zone else 0
        if low <= found.low and found.high + grey <= high:
            errors = dict(zip(monomials, -target, strict=True))
            for monomial, values in polynomial.items():
                errors[monomial] = errors.get(monomial, 0.0) + values[0]
            residual = extremes(
                _plan_of_reals(list(errors), np.array(list(errors.values())), layout),
                layout,
                seconds,
            )
            bound = max(-residual.low, residual.high) / _FINE
            # Each coefficient adds a rounding error of half a unit of the fine grid.
            bound += len(errors) / 2 / _FINE
            return Quantised(polynomial, plan, scale, score_bits, bound, found, grey)
        above = max(found.high + grey, 1)
        scale *= min(0.995, (high - 0.5) / above, (low + 0.5) / min(found.low, -1))
    raise ModelTooLarge(
        f"The model does not fit into scores of {score_bits} bits; allow more bits or train "
        "fewer trees."
    )


def nearest_plane(target: NDArray[np.float64], metric: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return integers close to `target` (n,) in the norm of an upper triangular metric (n, n)."""
    rounded = np.zeros(len(target))
    error = np.zeros(len(target))
    for i in range(len(target) - 1, -1, -1):
        wanted = target[i] + metric[i, i + 1 :] @ error[i + 1 :] / metric[i, i]
        rounded[i] = np.rint(wanted)
        error[i] = target[i] - rounded[i]
    return rounded.astype(np.int64)


def _metric(
    monomials: list[Monomial], layout: Layout, calibration: Bits | None
) -> NDArray[np.float64]:
    """Return the Cholesky factor of the monomials' second moments.

    |metric @ error| is the RMS error of the score. Some rows are drawn from all possible inputs, so
    that rare inputs count as well.
    """
    rows = layout.bits_of_states(sample_states(layout, _RANDOM_ROWS, seed=3))
    if calibration is not None:
        rows = np.concatenate([calibration[:_CALIBRATION_ROWS], rows])
    holds = np.stack([rows[:, list(m)].all(axis=1) for m in monomials], axis=1).astype(np.float64)
    moments = holds.T @ holds / len(rows) + 1e-4 * np.eye(len(monomials))
    return np.asarray(np.linalg.cholesky(moments).T, np.float64)


def _plan_of_reals(
    monomials: list[Monomial], coefficients: NDArray[np.float64], layout: Layout
) -> Plan:
    """Plan real coefficients in units of 2^-20, in order to bound their sum."""
    fine = np.rint(coefficients * _FINE).astype(np.int64)
    polynomial = {m: np.array([c], np.int64) for m, c in zip(monomials, fine, strict=True)}
    return make_plan(polynomial, 1, layout)
