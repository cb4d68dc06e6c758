"""Plans: equal to their polynomials, with tables of at most 16 cells, and few of them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.encoding import Layout
from model.cover import cover
from model.plan import axis, make_plan
from model.polynomial import ONE, evaluate, sample_states, substitute
from model.program import explained_variants
from tests.strategies import (
    QUICK,
    SLOW,
    all_bits,
    layouts,
    monomials,
    polynomials,
    schemas,
    tiny_schemas,
)


def cells_of(lookup, bits):
    return bits[:, list(lookup.bits)].astype(np.int64) @ np.array(lookup.weights)


def assert_sound(plan, layout, outputs, bits):
    """Assert the properties on which engines with table lookups rely."""
    assert plan.linear.shape == (outputs, layout.n_states)
    for lookup in plan.lookups:
        assert len(lookup.values) <= 16
        assert len(set(lookup.bits)) == len(lookup.bits) == len(lookup.weights)
        assert lookup.outputs
        assert set(lookup.outputs) <= set(range(outputs))
        assert any(lookup.values)
        cells = cells_of(lookup, bits)
        assert cells.min() >= 0
        assert cells.max() < len(lookup.values)


@QUICK
@given(st.data(), st.integers(1, 4))
def test_a_plan_equals_its_polynomial_on_every_input_of_a_tiny_schema(data, outputs):
    layout = Layout(data.draw(tiny_schemas()))
    polynomial = data.draw(polynomials(layout, outputs))
    plan = make_plan(polynomial, outputs, layout)
    bits = all_bits(layout)
    assert_sound(plan, layout, outputs, bits)
    assert (plan.evaluate(bits, layout) == evaluate(polynomial, bits, outputs)).all()


@SLOW
@given(st.data(), st.integers(1, 6))
def test_a_plan_equals_its_polynomial_on_a_sample_of_a_larger_schema(data, outputs):
    layout = Layout(data.draw(schemas()))
    polynomial = data.draw(polynomials(layout, outputs, terms=40, largest=10**6))
    plan = make_plan(polynomial, outputs, layout)
    bits = layout.bits_of_states(sample_states(layout, 400, seed=4))
    assert_sound(plan, layout, outputs, bits)
    assert (plan.evaluate(bits, layout) == evaluate(polynomial, bits, outputs)).all()


@SLOW
@given(st.data())
def test_a_plan_over_the_shipped_schema_equals_its_polynomial(layout, data):
    polynomial = data.draw(polynomials(layout, terms=40))
    plan = make_plan(polynomial, 1, layout)
    bits = layout.bits_of_states(sample_states(layout, 300, seed=6))
    assert_sound(plan, layout, 1, bits)
    assert (plan.evaluate(bits, layout) == evaluate(polynomial, bits, 1)).all()


def test_the_plans_of_trained_programs_equal_their_polynomials(layout, small_programs, credit_data):
    bits = np.concatenate(
        [credit_data[1][0], layout.bits_of_states(sample_states(layout, 500, seed=8))]
    )
    for program in small_programs.values():
        assert program.plan.lookups, "the fixture should have interactions"
        assert_sound(program.plan, layout, len(program.outputs), bits)
        assert (program.plan.evaluate(bits, layout) == program.scores(bits)).all()


@QUICK
@given(st.data())
def test_single_output_needs_at_most_one_table_per_monomial(data):
    layout = Layout(data.draw(schemas()))
    polynomial = data.draw(polynomials(layout, terms=25))
    plan = make_plan(polynomial, 1, layout)
    assert len(plan.lookups) <= sum(len(monomial) > 1 for monomial in polynomial)


@QUICK
@given(st.data())
def test_explanation_needs_at_most_one_table_per_distinct_coefficient(data):
    layout = Layout(data.draw(schemas(most_parties=3)))
    polynomial = data.draw(polynomials(layout, terms=12))
    variants = explained_variants(layout)
    varied = substitute(polynomial, variants)
    plan = make_plan(varied, len(variants), layout)
    separately = sum(len(set(c.tolist()) - {0}) for m, c in varied.items() if len(m) > 1)
    assert len(plan.lookups) <= separately
    bits = layout.bits_of_states(sample_states(layout, 100, seed=4))
    expected = evaluate(varied, bits, len(variants))
    assert (plan.evaluate(bits, layout) == expected).all()


@QUICK
@given(st.data())
def test_linear_terms_need_no_table(data):
    layout = Layout(data.draw(schemas()))
    polynomial = data.draw(polynomials(layout, outputs=2))
    linear = {m: c for m, c in polynomial.items() if len(m) <= 1}
    plan = make_plan(linear, 2, layout)
    assert plan.lookups == ()
    bits = layout.bits_of_states(sample_states(layout, 50, seed=4))
    assert (plan.evaluate(bits, layout) == evaluate(linear, bits, 2)).all()


@pytest.mark.parametrize("polynomial", [{}, {ONE: np.array([7])}])
def test_constant_needs_no_table(layout, polynomial):
    plan = make_plan(polynomial, 1, layout)
    bits = layout.bits_of_states(sample_states(layout, 20, seed=1))
    assert plan.lookups == ()
    assert set(plan.evaluate(bits, layout)[:, 0].tolist()) == ({7} if polynomial else {0})


def test_a_product_shared_by_all_outputs_is_one_table(layout):
    monomial = (layout.code("Age").first_bit, layout.code("Account_age").first_bit)
    same = make_plan({monomial: np.full(6, 5)}, 6, layout)
    assert [lookup.outputs for lookup in same.lookups] == [(0, 1, 2, 3, 4, 5)]
    steps = make_plan({monomial: np.array([0, 0, 5, 5, 9, 9])}, 6, layout)
    assert [lookup.outputs for lookup in steps.lookups] == [(2, 3), (4, 5)]


@QUICK
@given(st.data())
def test_axis_distinguishes_exactly_the_states_of_its_bits(data):
    layout = Layout(data.draw(schemas(bins=6)))
    code = data.draw(st.sampled_from(layout.codes))
    own = st.integers(code.first_bit, code.first_bit + code.n_bits - 1)
    bits = data.draw(st.lists(own, unique=True, min_size=1))
    found = axis(bits, layout)
    assert sorted(found.bits) == sorted(bits)
    patterns = [tuple(row[b - code.first_bit] for b in found.bits) for row in code.table]
    coordinates = [sum(np.multiply(found.weights, pattern)) for pattern in patterns]
    assert all(0 <= coordinate < found.cells for coordinate in coordinates)
    assert found.cells == len(bits) + 1
    for (p, c), (q, d) in itertools.combinations(zip(patterns, coordinates, strict=True), 2):
        assert (p == q) == (c == d)


def test_missing_has_its_own_cell_on_a_threshold_axis(layout):
    code = layout.code("Occupation_type")
    missing, some = code.first_bit + 18, code.first_bit + 4
    found = axis([missing, some], layout)
    assert dict(zip(found.bits, found.weights, strict=True)) == {some: 1, missing: 2}


@QUICK
@given(st.data())
def test_cover_assigns_each_monomial_to_one_containing_grid(data):
    layout = data.draw(layouts(bins=8))
    wanted = data.draw(
        st.sets(monomials(layout, degree=4).filter(lambda m: len(m) > 1), max_size=25)
    )
    result = cover(sorted(wanted), layout)
    listed = [monomial for _, own in result for monomial in own]
    assert sorted(listed) == sorted(wanted)
    for grid, own in result:
        assert own
        assert np.prod([len(bits) + 1 for bits in grid]) <= 16
        columns = [{layout.code_of_bit[b].first_bit for b in bits} for bits in grid]
        assert all(len(column) == 1 for column in columns)
        assert len(set.union(*columns)) == len(grid)
        inside = {b for bits in grid for b in bits}
        assert all(inside.issuperset(monomial) for monomial in own)
    assert len(result) <= len(wanted)


@SLOW
@given(st.data())
def test_plan_is_independent_of_monomial_order(data):
    layout = data.draw(layouts())
    polynomial = data.draw(polynomials(layout, outputs=2))
    order = data.draw(st.permutations(list(polynomial)))
    one = make_plan(polynomial, 2, layout)
    other = make_plan({m: polynomial[m] for m in order}, 2, Layout(layout.schema))
    assert one.lookups == other.lookups
    assert (one.linear == other.linear).all()


def test_many_products_share_few_tables(layout):
    """All products of 3 thresholds of one column with 3 of another fit one 4 x 4 table."""
    age, account = layout.code("Age").first_bit, layout.code("Account_age").first_bit
    polynomial = {
        (age + i, account + j): np.array([i + 2 * j + 1]) for i in range(3) for j in range(3)
    }
    assert len(make_plan(polynomial, 1, layout).lookups) == 1


def test_shared_terms_are_merged_if_that_saves_a_table(layout):
    a, b, c = (layout.code(name).first_bit for name in ("Age", "Account_age", "Total_income"))
    varying = {(a, b): np.array([3, 1]), (a + 1, b + 1): np.array([3, 1])}
    riding = varying | {(a, b + 1): np.array([5, 5])}
    assert len(make_plan(varying, 2, layout).lookups) == 2  # one row of values per output
    assert len(make_plan(riding, 2, layout).lookups) == 2
    # Here riding along would turn one row into two, and the shared table is needed anyway.
    step = {m: np.array([0, 7]) for m in varying}
    shared = {(a, b + 1): np.array([5, 5]), tuple(sorted((a, c))): np.array([2, 2])}
    assert len(make_plan(step | shared, 2, layout).lookups) == 2
