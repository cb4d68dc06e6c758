"""Exact products: limbs that add up to their words, and rounding far from half an integer."""

import numpy as np
import pytest

from engines.levelled.exact_products import limbs, products, transformed
from engines.levelled.ggsw import Ggsw
from engines.levelled.parameters import DEFAULT, mask_parameters
from engines.levelled.randomness import Expander
from engines.levelled.ring import decompose

PARAMETERS = mask_parameters(DEFAULT)


@pytest.mark.parametrize(("bits", "count"), [(48, 3), (40, 2), (56, 3), (20, 1), (64, 4)])
def test_limbs_add_up_to_the_words(bits, count):
    words = Expander.fresh().uniform_words(1000)
    words[:3] = 0, 2**63, 2**64 - 1
    split = limbs(words, bits)
    width = -(-bits // count)
    assert split.shape == (count, 1000)
    assert np.abs(split).max() <= 2 ** (width - 1)
    total = sum(part.astype(object) << (i * width) for i, part in enumerate(split))
    kept = [int(word) >> (64 - bits) for word in words]
    assert [int(value) % 2**bits for value in total] == kept


@pytest.mark.parametrize("extreme", [False, True])
def test_products_equal_those_of_integers(extreme):
    """With random ciphertexts, and with the largest words and digits, chosen to add up."""
    n = 256
    parameters = PARAMETERS.model_copy(update={"n": n})
    randomness = Expander(bytes(32))
    shape = (1, parameters.rows, n)
    bit = Ggsw(randomness.uniform_words(shape), randomness.uniform_words(shape))
    node = randomness.uniform_words((2, n))
    if extreme:
        bit.masks[:], bit.bodies[:], node[:] = 2**63, 2**63, 2**63
    bit = bit.cut(parameters)
    found = products(transformed(bit, parameters)[None], np.zeros(1, int), node[None], parameters)
    digits = decompose(node, parameters.base_log, parameters.levels).reshape(-1, n)
    for half, rows in enumerate((bit.masks[0], bit.bodies[0])):
        expected = sum(negacyclic(digit, row) for digit, row in zip(digits, rows, strict=True))
        assert found[0, half].tolist() == [int(value) % 2**64 for value in expected]


def negacyclic(digit, row):
    """Return the product of two polynomials by Python's integers, modulo X^N + 1."""
    n = len(digit)
    product = np.zeros(2 * n, object)
    wide = row.astype(object)
    for i, value in enumerate(digit.tolist()):
        product[i : i + n] += value * wide
    return product[:n] - product[n:]
