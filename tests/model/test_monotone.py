"""Directions of columns: kept by trees, kept by rounding, and proven or refuted exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features.encoding import Layout
from features.schema import OrdinalColumn, Schema
from model.booster import Ensemble
from model.monotone import directions, kept_by_trees, least_steps, threshold_bits, with_directions
from model.polynomial import evaluate
from model.quantise import quantise
from tests.strategies import SLOW, all_bits, ensembles, polynomials, tiny_schemas


def ordinals(layout: Layout) -> list[str]:
    return [c.column.name for c in layout.codes if isinstance(c.column, OrdinalColumn)]


def steps(layout: Layout, column: str, values) -> list[np.ndarray]:
    """Return `values` of all inputs in bin k + 1 minus those in bin k, for every k.

    By enumeration: the inputs of both bins are in the same order.
    """
    bits = all_bits(layout)
    code = layout.code(column)
    own = layout.states(bits)[:, layout.codes.index(code)] - code.first_state
    found = values(bits)
    cuts = len(threshold_bits(code))
    return [found[own == k + 1] - found[own == k] for k in range(cuts)]


@st.composite
def cases(draw):
    layout = Layout(draw(tiny_schemas()))
    return layout, draw(polynomials(layout, largest=6)), draw(st.sampled_from([1, -1]))


@given(cases())
@SLOW
def test_least_steps_are_those_of_all_inputs(case):
    layout, polynomial, sign = case
    for name in ordinals(layout):
        found = least_steps(polynomial, layout, name, sign)
        every = steps(layout, name, lambda bits: evaluate(polynomial, bits, 1)[:, 0])
        for least, own in zip(found.values(), every, strict=True):
            exact = int((sign * own).min())
            assert least <= exact  # a bound, for every input
            assert (least < 0) == (exact < 0)


@given(cases())
@SLOW
def test_corrected_polynomials_keep_their_directions(case):
    layout, polynomial, sign = case
    wanted = dict.fromkeys(ordinals(layout), sign)
    changed = with_directions(polynomial, layout, wanted)
    for name in wanted:
        for own in steps(layout, name, lambda bits: evaluate(changed, bits, 1)[:, 0]):
            assert (sign * own >= 0).all()
    if all(
        (sign * own >= 0).all()
        for name in wanted
        for own in steps(layout, name, lambda bits: evaluate(polynomial, bits, 1)[:, 0])
    ):
        assert changed.keys() == polynomial.keys()
        assert all((changed[m] == polynomial[m]).all() for m in polynomial)


@st.composite
def trees(draw):
    layout = Layout(draw(tiny_schemas()))
    return layout, draw(ensembles(layout, most_trees=9, depth=2)), draw(st.sampled_from([1, -1]))


@given(trees())
@SLOW
def test_direction_of_trees_is_that_of_all_inputs(case):
    """Tree by tree, since a sum can rise although one of its trees falls."""
    layout, ensemble, sign = case
    wanted = dict.fromkeys(ordinals(layout), sign)
    kept = kept_by_trees(ensemble, layout, wanted)
    for name in wanted:
        exact = all(
            (sign * own >= 0).all()
            for tree in ensemble.trees
            for own in steps(
                layout, name, lambda bits, t=tree: Ensemble((t,), 0.0).leaf_values(bits).sum(axis=1)
            )
        )
        assert (name in kept) == exact


@given(trees(), st.sampled_from([4, 7]))
@SLOW
def test_rounded_score_keeps_the_directions_of_the_trees(case, width):
    layout, drawn, _ = case
    wanted = directions(layout.schema)
    alone = (Ensemble((tree,), drawn.base_margin) for tree in drawn.trees)
    kept_trees = [one.trees[0] for one in alone if kept_by_trees(one, layout, wanted) == wanted]
    assume(len(kept_trees) > 1)
    ensemble = Ensemble(tuple(kept_trees), drawn.base_margin)
    kept = kept_by_trees(ensemble, layout, wanted)
    assert kept == wanted
    rounded = quantise(ensemble, layout, width, seconds=1)
    for name, sign in kept.items():
        for own in steps(layout, name, lambda bits: evaluate(rounded.polynomial, bits, 1)[:, 0]):
            assert (sign * own >= 0).all()
    bits = all_bits(layout)
    real = ensemble.base_margin + ensemble.leaf_values(bits).sum(axis=1)
    off = evaluate(rounded.polynomial, bits, 1)[:, 0] + 0.5 - rounded.scale * real
    assert np.abs(off).max() <= rounded.rounding_bound + 1e-6


@pytest.mark.parametrize(
    ("column", "explanation", "expected"),
    [
        ({}, {}, {"age": 1}),
        ({}, {"direction": "less"}, {"age": -1}),
        ({}, {"monotone": False}, {}),
        ({"monotone": "falling"}, {"monotone": False}, {"age": -1}),
        ({"monotone": "falling"}, {}, {"age": -1}),
    ],
)
def test_directions_come_from_columns_and_explanation(column, explanation, expected):
    ordinal = {"kind": "ordinal", "minimum": 0, "maximum": 9, "cuts": [3]}
    age = ordinal | {"name": "age", "label": "Age"}
    debt = ordinal | {"name": "debt", "label": "Debt"}
    document = {
        "name": "x",
        "title": "X",
        "parties": [
            {"name": "a", "label": "A", "columns": [age | column]},
            {"name": "b", "label": "B", "columns": [debt]},
        ],
        "decision": {"target": "bad"},
        "explanation": {"column": "age", "phrase": "years"} | explanation,
    }
    assert directions(Schema.parse(document)) == expected
