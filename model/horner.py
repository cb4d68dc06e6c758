"""How many products of ciphertexts a polynomial costs when bits are pulled out one by one.

Nested Horner form: the bit that occurs in most monomials of degree 2 and more is pulled out of
them, what is left inside and outside is treated alike, and every bit pulled out is one product
(an external product of the levelled engine, see docs). Terms of degree 1 cost none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from model.polynomial import Monomial


def external_products(monomials: Iterable[Monomial]) -> int:
    """Products needed for the sum of these monomials, whatever their coefficients."""
    left = {monomial for monomial in monomials if len(monomial) > 1}
    products = 0
    while left:
        counts = Counter(bit for monomial in left for bit in monomial)
        bit = min(counts, key=lambda b: (-counts[b], b))
        inside = {tuple(b for b in m if b != bit) for m in left if bit in m}
        left = {m for m in left if bit not in m}
        products += 1 + external_products(inside)
    return products
