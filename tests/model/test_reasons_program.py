"""The reasons program equals its definition, and its edges divide points as they should."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from features.encoding import Layout
from features.schema import Schema
from model.levels import (
    LEVELS,
    chosen_edges,
    fits,
    levels_of,
    position_points,
    shift,
    table_bits,
    valid_edges,
)
from model.program import Program, decide_program
from model.quantise import quantise
from model.reasons import MOST_REASONS, MOST_STATED, principal_reasons
from model.reasons_program import reasons_program, reference_means, stated_program, with_edges
from tests.strategies import SLOW, all_bits, decide_programs, ensembles, tiny_schemas
from utils.errors import ProgramInvalid

REFERENCES = 64
"""A power of two, so that shares in parts of 1024 are exact."""


@st.composite
def grouped(draw, of=tiny_schemas):
    """Draw the layout of a schema whose reasons have any of its columns; some have none."""
    document = draw(of()).model_dump(mode="json")
    names = draw(st.permutations([c["name"] for p in document["parties"] for c in p["columns"]]))
    reasons = []
    while names and len(reasons) < 4:
        count = draw(st.integers(1, len(names)))
        own, names = names[:count], names[count:]
        if draw(st.integers(0, 3)):
            name = f"reason_{len(reasons)}"
            reasons.append({"name": name, "columns": own, "text": name.title()})
    return Layout(Schema.parse(document | {"reasons": reasons}))


def replaced(row, references, columns, layout):
    """Return copies of a row of bits with the columns of each reference, shape (references, …)."""
    rows = np.repeat(row[None], len(references), axis=0)
    for name in columns:
        code = layout.code(name)
        own = slice(code.first_bit, code.first_bit + code.n_bits)
        rows[:, own] = references[:, own]
    return rows


def gains(decide, references, rows, layout):
    """Return the expected gains in score by the definition, (rows, reasons), times references."""
    return np.array(
        [
            [
                (decide.scores(replaced(row, references, reason.columns, layout))[:, 0]).sum()
                - len(references) * decide.scores(row[None])[0, 0]
                for reason in layout.schema.stated_reasons
            ]
            for row in rows
        ]
    )


def reference_rows(data, decide, layout):
    """Draw approved rows whose number makes shares exact, and all denied ones."""
    every = all_bits(layout)
    scores = decide.scores(every)[:, 0]
    assume((scores >= 0).any())
    approved = every[scores >= 0]
    picked = data.draw(st.lists(st.integers(0, len(approved) - 1), min_size=1, max_size=8))
    return np.resize(approved[picked], (REFERENCES, layout.n_bits)), every[scores < 0], every


@SLOW
@given(data=st.data())
def test_points_are_the_expected_gains_of_any_model(data):
    layout = data.draw(grouped())
    decide = data.draw(decide_programs(layout))
    references, denied, every = reference_rows(data, decide, layout)
    means = reference_means(decide, layout, np.concatenate([denied, references]))
    reasons = reasons_program(decide, layout, means)
    reasons.check(layout)
    points = reasons.scores(every)
    halved = decide.scale / reasons.scale
    assert halved == 1 or reasons.score_bits == max(decide.score_bits, 10)
    picked = np.linspace(0, len(every) - 1, min(len(every), 25)).astype(int)
    exact = gains(decide, references, every[picked], layout) / REFERENCES / halved
    assert np.abs(points[picked] - exact).max() <= reasons.rounding_bound
    assert reasons.low <= points.min() and points.max() <= reasons.high
    edges = with_edges(reasons, decide, every).edges
    assert valid_edges(edges, reasons.score_bits, len(reasons.outputs))
    assert fits(reasons.low, reasons.high, reasons.score_bits, len(reasons.outputs))


@SLOW
@given(data=st.data())
def test_points_of_a_reason_with_every_column_complete_the_score(data):
    """With all columns in one reason, points are the average score less the applicant's own."""
    schema = data.draw(tiny_schemas())
    names = [column.name for column in schema.columns()]
    whole = {"name": "all", "columns": names, "text": "All"}
    layout = Layout(Schema.parse(schema.model_dump(mode="json") | {"reasons": [whole]}))
    decide = decide_program(quantise(data.draw(ensembles(layout)), layout, 9), layout)
    references, _, every = reference_rows(data, decide, layout)
    reasons = reasons_program(decide, layout, reference_means(decide, layout, references))
    assume(reasons.scale == decide.scale)
    average = decide.scores(references)[:, 0].mean()
    points, scores = reasons.scores(every)[:, 0], decide.scores(every)[:, 0]
    # Only the constant is not exact; halves are rounded up.
    assert np.array_equal(points, np.floor(average + 0.5).astype(int) - scores)


def test_without_approved_rows_all_states_are_equally_likely(layout, small_programs):
    decide = small_programs["decide"]
    means = reference_means(decide, layout, np.zeros((0, layout.n_bits), np.uint8))
    assert means
    for part, mean in means.items():
        shares = [len(layout.states_of_bit[b]) / layout.code_of_bit[b].n_states for b in part]
        assert abs(mean - 1024 * np.prod(shares)) <= 0.5


def test_levels_state_the_reasons_that_points_state(layout, small_programs_of, credit_data):
    """On denied rows that were not used to choose edges: the weightiest, in nearly their order."""
    decide, reasons = (small_programs_of(12)[name] for name in ("decide", "reasons"))
    _, (bits, _) = credit_data
    points = reasons.scores(bits[decide.scores(bits)[:, 0] < 0])
    assert len(points) > 100
    kept = stated = 0
    for own in points:
        by_level, by_points = (
            [reason.name for reason in principal_reasons(layout.schema, values)]
            for values in (levels_of(own, reasons.edges), own)
        )
        assert len(by_level) == len(by_points) <= MOST_REASONS
        kept += sum(own[reasons.outputs.index(name)] for name in by_level)
        stated += sum(own[reasons.outputs.index(name)] for name in by_points)
    assert kept > 0.99 * stated


def test_principal_reasons_are_the_most_weighty_first(schema):
    names = [reason.name for reason in schema.stated_reasons]
    stated = principal_reasons(schema, [0.0, 3.0, 7.0, 3.0, 1.0, 3.0, 0.0, -2.0])
    assert [reason.name for reason in stated] == [names[i] for i in (2, 1, 3, 5)]
    assert principal_reasons(schema, [0.0] * 7 + [-1.0]) == []


def test_schema_with_too_many_columns_and_no_list_has_no_program(schema, layout, small_programs):
    document = schema.model_dump(mode="json") | {"reasons": []}
    flags = [{"kind": "boolean", "label": "F", "name": f"F{i}"} for i in range(MOST_STATED)]
    document["parties"][1]["columns"] += flags
    many = Layout(Schema.parse(document))
    rows = np.zeros((1, many.n_bits), np.uint8)
    assert stated_program(small_programs["decide"], many, rows) is None


outputs_and_bits = st.tuples(st.integers(1, MOST_STATED), st.integers(8, 12))


@given(data=st.data(), given_sizes=outputs_and_bits)
def test_any_range_and_any_sample_give_edges_of_the_table(data, given_sizes):
    outputs, bits = given_sizes
    low, high = -data.draw(st.integers(0, 1500)), data.draw(st.integers(0, 1500))
    unit, added = position_points(bits, outputs), shift(low, bits, outputs)
    assert low + added >= 0 > low + added - unit  # the least such constant
    assert (1 + added) % unit == 0
    assert fits(low, high, bits, outputs) is (high + added < 1 << bits - 1)
    rows = data.draw(st.lists(st.integers(-2000, (1 << bits - 2)), max_size=40))
    edges = chosen_edges(np.array(rows, np.int64)[:, None], bits, outputs)
    assert valid_edges(edges, bits, outputs)
    assert edges[-1] <= unit << (table_bits(outputs) - 2)
    levels = levels_of(np.arange(-5, edges[-1] + 1), edges)
    assert levels[:6].tolist() == [0] * 6 and levels[6] == 1 and levels[-1] == LEVELS - 1


@pytest.mark.parametrize(
    "edges", [(1, 2, 3), (1, 17, 17, 49, 65, 81, 97), (2, 18, 34, 50, 66, 82, 98)]
)
def test_edges_that_do_not_fit_are_refused(layout, small_programs_of, tmp_path, edges):
    own = small_programs_of(12)["reasons"]
    assert own.edges and json.loads(own.to_json())["edges"] == list(own.edges)
    path = tmp_path / "reasons.json"
    path.write_text(dataclasses.replace(own, edges=edges).to_json())
    with pytest.raises(ProgramInvalid, match="edges"):
        Program.load(path, layout)
