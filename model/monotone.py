"""Monotone columns: the directions that a schema asks for, and proofs that a model keeps them.

Between two neighbouring bins of an ordinal column exactly one threshold bit changes, and a monomial
has at most one bit of a column. So the step of the score at a threshold is the sum of the monomials
with this bit, without it: a polynomial in the bits of the other columns. The score keeps its
direction for every input if no such polynomial has a value below 0, which model/extremes proves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.encoding import ColumnCode, Layout
from features.schema import OrdinalColumn, Schema
from model.booster import Ensemble, Leaf, Tree
from model.extremes import lowest
from model.plan import make_plan
from model.polynomial import ONE, Polynomial

Directions = Mapping[str, int]
"""By column: 1 if the score must never fall as the column grows, -1 if it must never rise."""


def directions(schema: Schema) -> dict[str, int]:
    """Return the directions that the schema asks for, by column.

    A column's own `monotone` goes before that of the explanation.
    """
    explanation = schema.explanation
    wanted = {}
    if explanation.monotone:
        wanted[explanation.column] = 1 if explanation.direction == "more" else -1
    for column in schema.columns():
        if isinstance(column, OrdinalColumn) and column.monotone != "free":
            wanted[column.name] = 1 if column.monotone == "rising" else -1
    return wanted


def threshold_bits(code: ColumnCode) -> range:
    """Return the bits `x >= cut` of an ordinal column, lowest cut first; none of other columns."""
    cuts = len(code.column.cuts) if isinstance(code.column, OrdinalColumn) else 0
    return range(code.first_bit, code.first_bit + cuts)


def kept_by_trees(ensemble: Ensemble, layout: Layout, wanted: Directions) -> dict[str, int]:
    """Return the directions that every tree keeps on its own, so that their sum keeps them."""
    return {
        name: sign
        for name, sign in wanted.items()
        if all(_keeps(tree, layout.code(name), sign, layout) for tree in ensemble.trees)
    }


def _keeps(tree: Tree, code: ColumnCode, sign: int, layout: Layout) -> bool:
    own = threshold_bits(code)
    if not any(bit in own for leaf in tree.leaves for bit, _ in leaf.path):
        return True
    bins = frozenset(range(code.first_state, code.first_state + len(own) + 1))
    leaves = [(leaf.value, _states(leaf, layout)) for leaf in tree.leaves]
    for value, states in leaves:
        below = states.get(code.first_bit, bins) & bins
        for other, others in leaves:
            above = others.get(code.first_bit, bins) & bins
            if (
                sign * (other - value) < 0
                and below
                and above
                and min(below) < max(above)
                and all(
                    states[column] & others[column]
                    for column in states.keys() & others.keys() - {code.first_bit}
                )
            ):
                return False
    return True


def _states(leaf: Leaf, layout: Layout) -> dict[int, frozenset[int]]:
    """Return the states that reach a leaf, for every tested column by its first bit."""
    states: dict[int, frozenset[int]] = {}
    for bit, wanted in leaf.path:
        code = layout.code_of_bit[bit]
        every = frozenset(range(code.first_state, code.first_state + code.n_states))
        fits = layout.states_of_bit[bit] if wanted else every - layout.states_of_bit[bit]
        states[code.first_bit] = states.get(code.first_bit, every) & fits
    return states


def least_steps(
    polynomial: Polynomial, layout: Layout, column: str, sign: int, seconds: float = 4.0
) -> dict[int, int]:
    """Return, by threshold bit, a proven lower bound of `sign` times the score's step there.

    The polynomial has one output. No bound below 0 means that the score keeps the direction for
    every input. `seconds` limits each search; a search that ends early gives a lower bound too.
    """
    return {
        bit: _least(_step(polynomial, bit, sign), layout, seconds)
        for bit in threshold_bits(layout.code(column))
    }


def _step(polynomial: Polynomial, bit: int, sign: int) -> Polynomial:
    """Return `sign` times the change of the polynomial when `bit` becomes 1 in its column."""
    return {
        tuple(b for b in monomial if b != bit): sign * coefficients
        for monomial, coefficients in polynomial.items()
        if bit in monomial
    }


def _least(step: Polynomial, layout: Layout, seconds: float) -> int:
    bound = sum(int(c[0]) if m == ONE else min(0, int(c[0])) for m, c in step.items())
    if bound >= 0 or set(step) == {ONE}:
        return bound
    return lowest(make_plan(step, 1, layout), layout, seconds)


def with_directions(
    polynomial: Polynomial, layout: Layout, wanted: Directions, seconds: float = 4.0
) -> Polynomial:
    """Return the polynomial with steps that rounding turned against `wanted` raised to 0 or more.

    Only the coefficients of threshold bits change, each of which moves the step at its own
    threshold alone. An addition is taken back at the next thresholds that have room, so that the
    scores of higher bins stay close to those before.
    """
    changed = dict(polynomial)
    for name, sign in wanted.items():
        surplus = 0
        for bit, least in least_steps(polynomial, layout, name, sign, seconds).items():
            change = max(-least, -surplus)
            surplus += change
            if change:
                value = polynomial.get((bit,), np.zeros(1, np.int64)) + sign * change
                changed[(bit,)] = value
    return {monomial: value for monomial, value in changed.items() if value.any()}
