"""The proven bounds of a score: valid for every input, and reached if that can be checked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.encoding import Layout
from model.extremes import extremes
from model.plan import make_plan
from model.polynomial import ONE, evaluate, sample_states
from tests.strategies import QUICK, SLOW, all_bits, polynomials, schemas, tiny_schemas


@QUICK
@given(st.data())
def test_bounds_equal_the_extremes_over_all_inputs(data):
    layout = Layout(data.draw(tiny_schemas()))
    polynomial = data.draw(polynomials(layout))
    plan = make_plan(polynomial, 1, layout)
    scores = evaluate(polynomial, all_bits(layout), 1)[:, 0]
    found = extremes(plan, layout)
    assert (found.low, found.high) == (scores.min(), scores.max())
    assert found.tight
    reached = plan.evaluate(layout.bits_of_states(found.rows), layout)[:, 0]
    assert reached.tolist() == [found.low, found.high]


@QUICK
@given(st.data())
def test_bounds_hold_without_solver_time(data):
    layout = Layout(data.draw(tiny_schemas()))
    polynomial = data.draw(polynomials(layout, largest=10**6))
    scores = evaluate(polynomial, all_bits(layout), 1)[:, 0]
    found = extremes(make_plan(polynomial, 1, layout), layout, seconds=1e-9)
    assert found.low <= scores.min()
    assert scores.max() <= found.high
    assert (layout.states(layout.bits_of_states(found.rows)) == found.rows).all()
    assert found.tight == bool(
        (
            evaluate(polynomial, layout.bits_of_states(found.rows), 1)[:, 0]
            == (found.low, found.high)
        ).all()
    )


@SLOW
@given(st.data())
def test_samples_of_a_larger_schema_stay_within_bounds(data):
    layout = Layout(data.draw(schemas()))
    polynomial = data.draw(polynomials(layout, terms=40, largest=1000))
    found = extremes(make_plan(polynomial, 1, layout), layout)
    bits = layout.bits_of_states(sample_states(layout, 3000, seed=9))
    scores = evaluate(polynomial, bits, 1)[:, 0]
    assert found.low <= scores.min()
    assert scores.max() <= found.high


def test_bounds_of_trained_program_hold_and_are_reached(layout, small_programs, credit_data):
    program = small_programs["decide"]
    found = extremes(program.plan, layout)
    assert found.tight
    assert (found.low, found.high) == (program.low, program.high)
    bits = np.concatenate(
        [credit_data[0][0], layout.bits_of_states(sample_states(layout, 20_000, seed=9))]
    )
    scores = program.scores(bits)
    assert program.low <= scores.min()
    assert scores.max() <= program.high


def test_local_search_does_not_exceed_the_bounds(layout, small_programs):
    """A local search improves one column after another."""
    program = small_programs["decide"]
    best = {1: -(10**9), -1: -(10**9)}
    for sign in best:
        states = sample_states(layout, 30, seed=11)
        for _ in range(3):
            for i, code in enumerate(layout.codes):
                tries = []
                for state in range(code.first_state, code.first_state + code.n_states):
                    changed = states.copy()
                    changed[:, i] = state
                    tries.append(sign * program.scores(layout.bits_of_states(changed))[:, 0])
                states[:, i] = code.first_state + np.argmax(tries, axis=0)
        best[sign] = int((sign * program.scores(layout.bits_of_states(states))).max())
    assert program.low <= -best[-1] <= program.low + 2
    assert program.high - 2 <= best[1] <= program.high


@pytest.mark.parametrize("value", [0, 9, -9])
def test_extremes_of_a_constant_equal_it(layout, value):
    polynomial = {ONE: np.array([value])} if value else {}
    found = extremes(make_plan(polynomial, 1, layout), layout)
    assert (found.low, found.high, found.tight) == (value, value, True)
    assert found.rows.shape == (2, len(layout.codes))
