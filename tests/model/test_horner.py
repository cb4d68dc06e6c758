"""The number of products, compared with a nested evaluation that performs them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.horner import external_products
from tests.strategies import QUICK

MONOMIALS = st.sets(
    st.sets(st.integers(0, 7), max_size=4).map(lambda bits: tuple(sorted(bits))), max_size=15
)


def nested(terms, row):
    """Return the value of {monomial: coefficient} at a row of bits, and the number of products.

    Repeatedly factors out the most frequent bit of the monomials of degree 2 and more.
    """
    value, products = 0, 0
    high = {m: c for m, c in terms.items() if len(m) > 1}
    for monomial, coefficient in terms.items():
        if len(monomial) <= 1:
            value += coefficient * (row[monomial[0]] if monomial else 1)
    while high:
        counts = {}
        for monomial in high:
            for bit in monomial:
                counts[bit] = counts.get(bit, 0) + 1
        bit = min(counts, key=lambda b: (-counts[b], b))
        inside = {tuple(b for b in m if b != bit): c for m, c in high.items() if bit in m}
        high = {m: c for m, c in high.items() if bit not in m}
        inner, used = nested(inside, row)
        value += row[bit] * inner
        products += used + 1
    return value, products


@QUICK
@given(MONOMIALS, st.lists(st.integers(0, 1), min_size=8, max_size=8))
def test_product_count_matches_a_correct_nested_evaluation(monomials, row):
    terms = {m: i + 1 for i, m in enumerate(sorted(monomials))}
    value, products = nested(terms, row)
    assert value == sum(c * int(np.prod([row[b] for b in m])) for m, c in terms.items())
    assert products == external_products(monomials)


@QUICK
@given(MONOMIALS)
def test_nesting_never_needs_more_products_than_separate_monomials(monomials):
    count = external_products(monomials)
    assert count <= sum(max(len(m) - 1, 0) for m in monomials)
    assert (count == 0) == all(len(m) <= 1 for m in monomials)
    assert count >= max((len(m) - 1 for m in monomials), default=0)


@QUICK
@given(MONOMIALS)
def test_product_count_ignores_linear_terms_order_and_repetition(monomials):
    count = external_products(monomials)
    assert external_products({m for m in monomials if len(m) > 1}) == count
    assert external_products([*sorted(monomials), *sorted(monomials, reverse=True)]) == count


@pytest.mark.parametrize(
    ("monomials", "products"),
    [
        ([], 0),
        ([()], 0),
        ([(1,), (2,)], 0),
        ([(1, 2)], 1),
        ([(1, 2, 3, 4)], 3),
        ([(1, 2), (1, 3), (1, 4)], 1),  # 1 * (2 + 3 + 4)
        ([(1, 2), (3, 4)], 2),
        ([(1, 2), (1, 2, 3)], 2),  # 1 * (2 + 2 * 3): two bits are factored out
        ([(1, 2), (2, 3), (1, 3)], 2),  # 1 * (2 + 3) + 2 * 3
    ],
)
def test_product_counts_match_hand_computed_examples(monomials, products):
    assert external_products(monomials) == products
