"""Polynomials in bits, compared with a naive evaluation for every input of small schemas."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.encoding import Layout
from model.booster import parse_ensemble
from model.polynomial import (
    ONE,
    evaluate,
    indicator,
    sample_states,
    substitute,
    times_bit,
)
from model.quantise import real_polynomial
from tests.strategies import (
    QUICK,
    all_bits,
    ensembles,
    layouts,
    log_odds,
    monomials,
    polynomials,
    tiny_schemas,
)


def holds(bits, monomial):
    return bits[:, list(monomial)].all(axis=1)


@QUICK
@given(st.data())
def test_product_is_one_iff_both_factors_are(data):
    layout = Layout(data.draw(tiny_schemas()))
    monomial = data.draw(monomials(layout))
    bit = data.draw(st.integers(0, layout.n_bits - 1))
    bits = all_bits(layout)
    both = holds(bits, monomial) & bits[:, bit].astype(bool)
    product = times_bit(monomial, bit, layout)
    assert (both == (holds(bits, product) if product is not None else False)).all()
    if product is not None:
        assert list(product) == sorted(product)
        columns = [layout.code_of_bit[b].first_bit for b in product]
        assert len(set(columns)) == len(columns)  # at most one bit per column


@QUICK
@given(st.data())
def test_a_product_does_not_depend_on_the_order(data):
    layout = Layout(data.draw(tiny_schemas()))
    bits = data.draw(st.lists(st.integers(0, layout.n_bits - 1), max_size=4))

    def product(order):
        monomial = ONE
        for bit in order:
            monomial = times_bit(monomial, bit, layout) if monomial is not None else None
        return monomial

    assert product(bits) == product(bits[::-1])


def test_products_within_one_column_of_the_shipped_schema(layout):
    code = layout.code("Years_employed")
    two, five = code.first_bit, code.first_bit + 1
    assert times_bit((two,), five, layout) == (five,)  # at least 2 and at least 5
    assert times_bit((five,), two, layout) == (five,)
    occupation = layout.code("Occupation_type")
    one, other = occupation.first_bit, occupation.first_bit + 3
    assert times_bit((one,), other, layout) is None
    assert times_bit((one,), one, layout) == (one,)
    assert times_bit((occupation.first_bit + 18,), one, layout) is None  # missing and a value
    assert times_bit((one,), two, layout) == (one, two)


@QUICK
@given(st.data())
def test_indicator_is_one_iff_its_path_holds(data):
    layout = Layout(data.draw(tiny_schemas()))
    step = st.tuples(st.integers(0, layout.n_bits - 1), st.booleans())
    path = data.draw(st.lists(step, max_size=4))  # may repeat a bit, also with the other value
    bits = all_bits(layout)
    terms = {m: np.array([v], np.int64) for m, v in indicator(path, layout).items()}
    wanted = np.all([bits[:, b] == w for b, w in path] or [[True] * len(bits)], axis=0)
    assert (evaluate(terms, bits, 1)[:, 0] == wanted).all()
    assert all(v.any() for v in terms.values())


@QUICK
@given(st.data())
def test_evaluation_sums_coefficients_of_satisfied_monomials(data):
    layout = Layout(data.draw(tiny_schemas()))
    polynomial = data.draw(polynomials(layout, outputs=3))
    bits = all_bits(layout)[:50]
    values = evaluate(polynomial, bits, 3)
    assert values.shape == (len(bits), 3)
    for row, value in zip(bits, values, strict=True):
        own = [c for m, c in polynomial.items() if all(row[b] for b in m)]
        assert (value == sum(own, np.zeros(3, np.int64))).all()


@QUICK
@given(st.data())
def test_substitution_equals_evaluation_with_fixed_bits(data):
    layout = Layout(data.draw(tiny_schemas()))
    polynomial = data.draw(polynomials(layout))
    fixed = data.draw(st.sets(st.integers(0, layout.n_bits - 1), min_size=1, max_size=4))
    variant = st.fixed_dictionaries({bit: st.booleans() for bit in fixed})
    variants = data.draw(st.lists(variant, min_size=1, max_size=3))
    bits = all_bits(layout)
    result = substitute(polynomial, variants)
    assert not any(bit in fixed for monomial in result for bit in monomial)
    values = evaluate(result, bits, len(variants))
    for column, setting in enumerate(variants):
        changed = bits.copy()
        for bit, value in setting.items():
            changed[:, bit] = value
        assert (values[:, column] == evaluate(polynomial, changed, 1)[:, 0]).all()


def value_of_reals(terms, bits):
    return sum(value * holds(bits, monomial) for monomial, value in terms.items())


@QUICK
@given(st.data())
def test_polynomial_equals_its_ensemble(data):
    layout = Layout(data.draw(tiny_schemas()))
    ensemble = data.draw(ensembles(layout))
    bits = all_bits(layout)
    terms = real_polynomial(ensemble, layout)
    np.testing.assert_allclose(
        value_of_reals(terms, bits), log_odds(ensemble, bits), rtol=0, atol=1e-9
    )


def test_polynomial_equals_its_trained_booster(layout, small_booster, credit_data):
    ensemble = parse_ensemble(json.loads(small_booster), layout)
    terms = real_polynomial(ensemble, layout)
    bits = np.concatenate(
        [credit_data[1][0], layout.bits_of_states(sample_states(layout, 500, seed=2))]
    )
    np.testing.assert_allclose(
        value_of_reals(terms, bits), log_odds(ensemble, bits), rtol=0, atol=1e-9
    )
    assert ONE in terms
    assert max(len(m) for m in terms) <= 2  # trees of depth 2


@QUICK
@given(layouts(), st.integers(0, 5))
def test_sampled_states_are_valid_and_reproducible(layout, seed):
    states = sample_states(layout, 40, seed)
    assert (states == sample_states(layout, 40, seed)).all()
    assert (layout.states(layout.bits_of_states(states)) == states).all()
