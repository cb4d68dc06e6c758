"""Transforms, exact products and digits, compared with Python's integers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.levelled.randomness import Expander
from engines.levelled.ring import (
    PreparedPoly,
    decompose,
    forward,
    inverse,
    multiply_exact,
    split_forward,
    split_inverse,
)
from tests.strategies import QUICK

Q = 2**64
WORD = st.one_of(st.integers(0, Q - 1), st.sampled_from([0, 1, Q - 1, Q // 2, Q // 2 - 1, 2**32]))


def schoolbook(words, small):
    """Return the product modulo X^N + 1 and 2^64, computed with Python's integers."""
    n = len(words)
    result = [0] * n
    for i, a in enumerate(words):
        for j, b in enumerate(small):
            sign = -1 if i + j >= n else 1
            result[(i + j) % n] += sign * a * b
    return [value % Q for value in result]


def big_product(words, small):
    """Return the same for long polynomials, as one product of two huge integers."""
    n, width = len(words), 96
    packed = [
        sum(int(v) << (width * i) for i, v in enumerate(p))
        for p in (words, (np.asarray(small) > 0).astype(int), (np.asarray(small) < 0).astype(int))
    ]
    result = np.zeros(n, object)
    for sign, factor in ((1, packed[1]), (-1, packed[2])):
        product = packed[0] * factor
        for i in range(2 * n):
            digit = (product >> (width * i)) & ((1 << width) - 1)
            result[i % n] += sign * (1 if i < n else -1) * digit
    return [int(value) % Q for value in result]


@QUICK
@given(
    st.sampled_from([2, 4, 8, 16, 64]).flatmap(
        lambda n: st.tuples(
            st.lists(WORD, min_size=n, max_size=n),
            st.lists(st.integers(-64, 64), min_size=n, max_size=n),
        )
    )
)
def test_products_are_exact(polynomials):
    words, small = polynomials
    product = multiply_exact(np.array(words, np.uint64), np.array(small, np.int64))
    assert product.tolist() == schoolbook(words, small)


def test_products_of_full_length_are_exact():
    randomness = Expander.fresh()
    words = randomness.uniform_words(2048)
    small = randomness.ternary(2048)
    assert multiply_exact(words, small).tolist() == big_product(words.tolist(), small)


@pytest.mark.parametrize("word", [2**31, 2**31 - 1, 2**63 - 1, 2**63, Q - 1, 0x7FFFFFFF80000000])
def test_products_of_extreme_words_with_the_largest_small_numbers_are_exact(word):
    words = np.full(2048, word, np.uint64)
    product = multiply_exact(words, np.full(2048, 64, np.int64))
    # Coefficient i sums i + 1 products and subtracts the 2047 - i that wrapped around.
    assert product.tolist() == [word * 64 * (2 * i + 2 - 2048) % Q for i in range(2048)]


def test_prepared_polynomials_multiply_batches():
    randomness = Expander.fresh()
    words, small = randomness.uniform_words(64), randomness.ternary((3, 5, 64))
    products = PreparedPoly(words).times(forward(small))
    assert products.shape == (3, 5, 64)
    assert products[2, 1].tolist() == schoolbook(words.tolist(), small[2, 1].tolist())
    many = randomness.uniform_words((5, 64))
    assert multiply_exact(many, small[0])[4].tolist() == schoolbook(
        many[4].tolist(), small[0, 4].tolist()
    )


@pytest.mark.parametrize("shape", [(2,), (16,), (2048,), (3, 2, 64)])
def test_the_inverse_undoes_the_transform(shape):
    numbers = Expander.fresh().uniform_words(shape).view(np.int64) >> 24
    values = forward(numbers)
    assert values.shape == (*shape[:-1], shape[-1] // 2)
    assert np.array_equal(inverse(values).view(np.int64), numbers)


def test_transforms_are_the_values_at_roots_of_minus_one():
    polynomial = np.array([3, -1, 4, 1, -5, 9, 2, 6])
    roots = np.exp(1j * np.pi * (1 - 4 * np.arange(4)) / 8)
    assert np.allclose(roots**8, -1)
    assert np.allclose(forward(polynomial), np.polyval(polynomial[::-1], roots))


@pytest.mark.parametrize(
    "value",
    [0, 1, -1, 2.0**62, 2.0**63, -(2.0**63), 2.0**64, 1.5 * 2.0**64, -2.5 * 2.0**64, 2.0**90,
     2.0**63 - 2.0**10, 2.0**63 + 2.0**11, -(2.0**63) - 2.0**11, 3 * 2.0**70 + 2.0**19],
)  # fmt: skip
def test_inverse_reduces_numbers_beyond_64_bits(value):
    polynomial = np.zeros(16)
    polynomial[0] = value
    assert inverse(forward(polynomial)).tolist() == [int(value) % Q] + [0] * 15


def test_words_are_interpreted_as_centred():
    words = np.array([Q - 1, 1, Q - 5, 0], np.uint64)
    assert np.array_equal(forward(words), forward(np.array([-1, 1, -5, 0])))


@QUICK
@given(
    st.lists(WORD, min_size=1, max_size=6),
    st.sampled_from([(15, 2), (14, 3), (1, 1), (8, 7), (30, 2), (9, 7)]),
)
def test_digits_are_small_and_sum_to_nearest_multiple(words, gadget):
    base_log, levels = gadget
    digits = decompose(np.array(words, np.uint64), base_log, levels)
    assert digits.shape == (levels, len(words))
    half = 2 ** (base_log - 1)
    assert digits.min() >= -half
    assert digits.max() < half
    step = 2 ** (64 - base_log * levels)
    for i, word in enumerate(words):
        made = sum(
            int(digit) << (64 - base_log * (level + 1)) for level, digit in enumerate(digits[:, i])
        )
        assert made % step == 0
        distance = (word - made + Q // 2) % Q - Q // 2
        assert abs(distance) <= step // 2


def test_decompose_handles_batches():
    words = Expander.fresh().uniform_words((3, 2, 16))
    digits = decompose(words, 15, 2)
    assert digits.shape == (3, 2, 2, 16)
    assert np.array_equal(digits[1, 0], decompose(words[1, 0], 15, 2))


@pytest.mark.parametrize("fill", ["random", "largest", "smallest"])
def test_split_products_are_exact_for_uniform_digits(fill):
    """Sums of 16 products of the leading 52 bits, at the largest N, even if all words are equal."""
    stream = Expander.fresh()
    words = stream.uniform_words((16, 2048)) >> np.uint64(12) << np.uint64(12)
    if fill != "random":
        words[:] = 2**63 - 2**12 if fill == "largest" else 2**63
    digits = stream.centred((16, 2048), 15)
    made = split_inverse((split_forward(words) * forward(digits)[:, None]).sum(axis=0))
    parts = decompose((digits << 46).view(np.uint64), 6, 3)  # for which products are exact
    expected = np.zeros(2048, np.uint64)
    for level, weight in enumerate((1 << 12, 1 << 6, 1)):
        products = multiply_exact(words, parts[:, level])
        expected += products.sum(axis=0, dtype=np.uint64) * np.uint64(weight)
    assert np.array_equal(made, expected)


def test_split_drops_the_last_bits_only():
    words = Expander.fresh().uniform_words((3, 64))
    kept = words >> np.uint64(12) << np.uint64(12)
    assert np.array_equal(split_inverse(split_forward(words)), kept)
