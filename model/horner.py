"""The nested Horner form of a polynomial, which factors out one bit at a time.

The bit that occurs in most monomials of degree 2 and more is factored out; the remaining terms
inside and outside are treated likewise. Each factored bit costs one product of ciphertexts (an
external product of the levelled engine). Terms of degree 1 cost none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from model.polynomial import ONE, Coefficients, Monomial, Polynomial


@dataclass(frozen=True)
class Nested:
    """constant + the sum of coefficient * bit + the sum of bit * inner.

    `constant` may be None. Coefficients have one entry per output.
    """

    constant: Coefficients | None
    linear: tuple[tuple[int, Coefficients], ...]
    products: tuple[tuple[int, Nested], ...]


def nest(polynomial: Polynomial) -> Nested:
    """Return the nested form of a polynomial; deterministic, including the order of terms."""
    left = {m: polynomial[m] for m in sorted(polynomial) if len(m) > 1}
    products = []
    while left:
        counts = Counter(bit for monomial in left for bit in monomial)
        bit = min(counts, key=lambda b: (-counts[b], b))
        inside = {tuple(b for b in m if b != bit): c for m, c in left.items() if bit in m}
        left = {m: c for m, c in left.items() if bit not in m}
        products.append((bit, nest(inside)))
    linear = ((m[0], polynomial[m]) for m in sorted(polynomial) if len(m) == 1)
    return Nested(polynomial.get(ONE), tuple(linear), tuple(products))


def external_products(monomials: Iterable[Monomial]) -> int:
    """Return the number of products for a sum of these monomials with any coefficients."""
    return _products(nest(dict.fromkeys(monomials, _ANY)))


_ANY = np.zeros(1, np.int64)


def _products(nested: Nested) -> int:
    return sum(1 + _products(inner) for _, inner in nested.products)
