"""The reasons program: the points by which each reason lies below that of approved applicants.

Let a reason have the columns G. For a monomial m of the integer polynomial of decide, with
coefficient c and bits g = m ∩ G of these columns,

    points(x) = sum over all m with g not empty of c * (E[g] * (m \\ g)(x) - m(x)),

where E[g] is the share of approved applicants of whom all bits g are 1. That is the expected gain
in score if the reason's columns were those of an approved applicant drawn at random, and all other
columns stayed. In an additive model, it is the average points of approved applicants less the
applicant's own. Points above 0 count against the applicant.

The commentary on Regulation B (12 CFR part 1002, supplement I, comment 9(b)(2)-5) names two methods
of selecting reasons: the factors for which the applicant lies furthest below the average of
applicants who score at or slightly above the minimum passing score, or below that of all
applicants. It accepts any other with substantially similar results. Here the average is that of
all whom the model approves: the decision is the model's, and so is the standard that it applied.

The shares are rounded to multiples of 1/1024, and the coefficients of equal monomials are summed
exactly before each is rounded, once, to an integer. So points differ from the formula with these
shares by at most half a unit for each coefficient that is not an integer (`rounding_bound`). If
points do not fit, all are halved until they do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from model.extremes import extremes
from model.levels import LEAST_SCORE_BITS, chosen_edges, fits
from model.plan import make_plan
from model.polynomial import Monomial, Polynomial
from model.program import Program
from model.reasons import MOST_STATED

PARTS = 1024
"""Denominator of the shares of approved applicants."""
_SHARED = 4
"""Outputs that get the whole time for their searches; more of them share it."""
_NARROW = 10
"""Points may have so many bits even if decide has fewer."""


def reference_means(decide: Program, layout: Layout, rows: Bits) -> dict[Monomial, int]:
    """Return, in parts of 1024, the share of approved rows in which all bits of a monomial are 1.

    The monomials are all that `reasons_program` needs. `rows`, shape (rows, n_bits), are those of
    training; approved is whoever the program approves. If there is none, all states of a column are
    equally likely.
    """
    approved = rows[decide.scores(rows)[:, 0] >= 0]
    means = {}
    for _, _, part, _ in _parts(decide.score_polynomial, layout):
        if part not in means and len(approved):
            count = int(approved[:, list(part)].all(axis=1).sum())
            means[part] = _rounded_quotient(PARTS * count, len(approved))
        elif part not in means:
            means[part] = _without_rows(part, layout)
    return means


def reasons_program(
    decide: Program, layout: Layout, means: Mapping[Monomial, int], seconds: float = 15.0
) -> Program:
    """Return the program with one output for each of `schema.stated_reasons`, in their order.

    `means` are those of `reference_means`; `seconds` bounds each search for an extreme.
    """
    stated = layout.schema.stated_reasons
    exact = _exact(decide.score_polynomial, layout, means)
    widest = max(decide.score_bits, _NARROW)
    halvings = 0
    while True:
        polynomial, rounded = _rounded(exact, PARTS << halvings)
        low, high, rows = _extremes(polynomial, len(stated), layout, seconds)
        score_bits = _fitting(low, high, len(stated))
        if score_bits <= widest:
            break
        halvings += score_bits - widest
    return Program(
        name="reasons",
        schema_fingerprint=decide.schema_fingerprint,
        outputs=tuple(reason.name for reason in stated),
        score_bits=score_bits,
        scale=decide.scale / (1 << halvings),
        rounding_bound=rounded / 2,
        low=low,
        high=high,
        polynomial=polynomial,
        plan=make_plan(polynomial, len(stated), layout),
        extreme_rows=rows,
    )


def stated_program(
    decide: Program, layout: Layout, rows: Bits, seconds: float = 15.0
) -> Program | None:
    """Return the reasons program with edges of levels, both from rows of training.

    None if the schema has more reasons than a program may have.
    """
    if len(layout.schema.stated_reasons) > MOST_STATED:
        return None
    means = reference_means(decide, layout, rows)
    return with_edges(reasons_program(decide, layout, means, seconds), decide, rows)


def with_edges(reasons: Program, decide: Program, rows: Bits) -> Program:
    """Return the program with edges of levels chosen on the denied among `rows` of training."""
    denied = rows[decide.scores(rows)[:, 0] < 0]
    points = reasons.scores(denied)
    return replace(reasons, edges=chosen_edges(points, reasons.score_bits, len(reasons.outputs)))


def _parts(
    polynomial: Polynomial, layout: Layout
) -> Iterator[tuple[int, Monomial, Monomial, Monomial]]:
    """Yield reason, monomial m, g = m ∩ G and m without g, of all pairs in which g is not empty."""
    reason_of = {
        column: i
        for i, reason in enumerate(layout.schema.stated_reasons)
        for column in reason.columns
    }
    for monomial in polynomial:
        own = [reason_of.get(layout.code_of_bit[bit].column.name) for bit in monomial]
        for reason in sorted({found for found in own if found is not None}):
            part = tuple(b for b, r in zip(monomial, own, strict=True) if r == reason)
            rest = tuple(b for b, r in zip(monomial, own, strict=True) if r != reason)
            yield reason, monomial, part, rest


def _without_rows(part: Monomial, layout: Layout) -> int:
    holding = states = 1
    for bit in part:  # at most one bit of each column
        holding *= len(layout.states_of_bit[bit])
        states *= layout.code_of_bit[bit].n_states
    return _rounded_quotient(PARTS * holding, states)


def _rounded_quotient(numerator: int, denominator: int) -> int:
    """Return the nearest integer; halves are rounded up."""
    return (2 * numerator + denominator) // (2 * denominator)


def _exact(polynomial: Polynomial, layout: Layout, means: Mapping[Monomial, int]) -> Polynomial:
    """Return the points' coefficients in parts of 1024, shape (reasons,) each."""
    count = len(layout.schema.stated_reasons)
    exact: Polynomial = {}
    for reason, monomial, part, rest in _parts(polynomial, layout):
        coefficient = int(polynomial[monomial][0])
        for term, value in ((rest, means[part]), (monomial, -PARTS)):
            exact.setdefault(term, np.zeros(count, np.int64))[reason] += coefficient * value
    return exact


def _rounded(exact: Polynomial, denominator: int) -> tuple[Polynomial, int]:
    """Return the polynomial divided by `denominator`, and the most coefficients not exact."""
    polynomial: Polynomial = {}
    inexact: NDArray[np.int64] | int = 0
    for monomial, coefficients in exact.items():
        inexact = inexact + (coefficients % denominator != 0).astype(np.int64)
        nearest = (2 * coefficients + denominator) // (2 * denominator)
        if nearest.any():
            polynomial[monomial] = nearest
    return polynomial, int(np.max(inexact))


def _extremes(
    polynomial: Polynomial, outputs: int, layout: Layout, seconds: float
) -> tuple[int, int, NDArray[np.int64]]:
    """Return bounds of all outputs, and the rows found for each, shape (rows, columns).

    `seconds` bounds each search; of more than 4 outputs, less each, so that the sum is the same.
    """
    low = high = 0
    each = min(seconds, _SHARED * seconds / outputs)
    rows = [np.empty((0, len(layout.codes)), np.int64)]
    for output in range(outputs):
        own = {m: c[[output]] for m, c in polynomial.items() if c[output]}
        if own:
            found = extremes(make_plan(own, 1, layout), layout, each)
            low, high = min(low, found.low), max(high, found.high)
            rows.append(found.rows)
    return low, high, np.concatenate(rows)


def _fitting(low: int, high: int, outputs: int) -> int:
    """Return the fewest bits of points in this range."""
    score_bits = LEAST_SCORE_BITS
    while not fits(low, high, score_bits, outputs):
        score_bits += 1
    return score_bits
