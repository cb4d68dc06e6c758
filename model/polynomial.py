"""Integer polynomials in bits.

A monomial is the sorted tuple of the bits that must be 1, with at most one bit per column: the
product of two bits of one column is the bit with fewer states, or 0 if no state has both (two
categories, or a threshold and `missing`). Equal monomials of several trees are merged. Coefficients
are vectors with one entry per output of the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout

Monomial = tuple[int, ...]
Coefficients = NDArray[np.int64]
Polynomial = dict[Monomial, Coefficients]

ONE: Monomial = ()


def times_bit(monomial: Monomial, bit: int, layout: Layout) -> Monomial | None:
    """Return the product of a monomial and a bit, or None if it is 0 for every input."""
    column = layout.code_of_bit[bit]
    for own in monomial:
        if layout.code_of_bit[own] is column:
            states, others = layout.states_of_bit[own], layout.states_of_bit[bit]
            if states <= others:
                return monomial
            if others < states:
                return tuple(sorted({*monomial, bit} - {own}))
            return None
    return tuple(sorted((*monomial, bit)))


def indicator(path: Iterable[tuple[int, bool]], layout: Layout) -> dict[Monomial, int]:
    """Return the polynomial that is 1 if every (bit, wanted) holds, and 0 otherwise."""
    terms: dict[Monomial, int] = {ONE: 1}
    for bit, wanted in path:
        grown: dict[Monomial, int] = {}
        for monomial, sign in terms.items():
            product = times_bit(monomial, bit, layout)
            parts = [(product, sign)] if wanted else [(monomial, sign), (product, -sign)]
            for part, value in parts:
                if part is not None:
                    grown[part] = grown.get(part, 0) + value
        terms = {monomial: value for monomial, value in grown.items() if value}
    return terms


def substitute(polynomial: Polynomial, variants: Iterable[Mapping[int, bool]]) -> Polynomial:
    """Replace bits by constants, once for each variant; the result has one output per variant.

    `polynomial` has one output. Variants may fix different bits.
    """
    settings = list(variants)
    result: Polynomial = {}
    for monomial, coefficients in polynomial.items():
        for output, variant in enumerate(settings):
            rest = tuple(bit for bit in monomial if bit not in variant)
            values = result.setdefault(rest, np.zeros(len(settings), np.int64))
            if all(variant.get(bit, True) for bit in monomial):
                values[output] += coefficients[0]
    return {monomial: values for monomial, values in result.items() if values.any()}


def evaluate(polynomial: Polynomial, bits: Bits, outputs: int) -> NDArray[np.int64]:
    """Return the exact values for every row: shape (rows, n_bits) to (rows, outputs)."""
    scores = np.zeros((len(bits), outputs), np.int64)
    for monomial, coefficients in polynomial.items():
        holds = bits[:, list(monomial)].all(axis=1, keepdims=True).astype(np.int64)
        scores += holds * coefficients
    return scores


def sample_states(layout: Layout, rows: int, seed: int) -> NDArray[np.int64]:
    """Draw random states of every column, shape (rows, columns); not for secrets."""
    generator = np.random.default_rng(seed)
    return np.stack(
        [
            generator.integers(code.first_state, code.first_state + code.n_states, rows)
            for code in layout.codes
        ],
        axis=1,
    )
