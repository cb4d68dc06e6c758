"""Covering monomials with few grids: the combinatorial half of planning.

A grid consists of some bits of a few columns. Its number of cells is the product of (bits + 1) over
its columns, at most 16 unless it is that of one monomial of five or six bits, and it covers every
monomial whose bits it contains. Minimising the number of grids is a set cover problem, so two
greedy searches are run: one grows a grid around a seed, the other merges pairs of grids. Both are
repeated in a few orders shuffled from fixed seeds; the smallest cover wins.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

from features.encoding import Layout
from model.polynomial import Monomial

CELLS = 16
"""Cells of one table: 4 bits."""
MOST_CELLS = 64
"""Cells of the table of a monomial of six bits, which has a grid of its own."""
Grid = tuple[tuple[int, ...], ...]
"""The bits of each column of the grid."""

_SHUFFLES = 8
_FEW = 120
_SEEDS = 6


def cover(monomials: Sequence[Monomial], layout: Layout) -> list[tuple[Grid, list[Monomial]]]:
    """Return grids that together cover all monomials, each with the monomials assigned to it."""
    return _cover(tuple(sorted(monomials)), layout)


@lru_cache(maxsize=64)  # quantising plans the same monomials several times
def _cover(monomials: tuple[Monomial, ...], layout: Layout) -> list[tuple[Grid, list[Monomial]]]:
    if not monomials:
        return []
    search = _Search(list(monomials), layout)
    best = search.grown(None)
    # A search over many monomials takes long and gains little from another order.
    few = len(monomials) <= _FEW
    for attempt in range(_SHUFFLES if few else 1):
        order = random.Random(attempt)  # noqa: S311  a search order, nothing secret
        candidates = [search.merged(order)]
        if few:
            candidates.append(search.grown(order))
        best = min([best, *candidates], key=len)
    return search.assigned(best)


class _Search:
    """Searches for covers, with sets of bits as Python integers."""

    def __init__(self, monomials: list[Monomial], layout: Layout) -> None:
        self.monomials = monomials
        self.layout = layout
        self.masks = [sum(1 << bit for bit in monomial) for monomial in monomials]
        used = sorted({bit for monomial in monomials for bit in monomial})
        self.columns = sorted(
            {
                ((1 << code.n_bits) - 1) << code.first_bit
                for code in (layout.code_of_bit[bit] for bit in used)
            }
        )

    def cells(self, mask: int) -> int:
        product = 1
        for column in self.columns:
            product *= (mask & column).bit_count() + 1
        return product

    def grown(self, order: random.Random | None) -> list[int]:
        """Grow each grid from a seed by the monomials that cover most per added cell."""
        left = set(range(len(self.masks)))
        grids = []
        while left:
            seeds = sorted(left, key=lambda i: -self.masks[i].bit_count())
            if order is not None:
                seeds = order.sample(seeds, len(seeds))
            options = [self._grow(self.masks[seed], left, order) for seed in seeds[:_SEEDS]]
            grid = max(options, key=lambda mask: (self._covered(mask, left), -self.cells(mask)))
            grids.append(grid)
            left -= {i for i in left if self.masks[i] & ~grid == 0}
        return grids

    def _covered(self, mask: int, left: set[int]) -> int:
        return sum(self.masks[i] & ~mask == 0 for i in left)

    def _grow(self, mask: int, left: set[int], order: random.Random | None) -> int:
        while True:
            options: dict[int, float] = {}
            base, room = self._covered(mask, left), self.cells(mask)
            for wider in {mask | self.masks[i] for i in left}:
                cells = self.cells(wider)
                if wider != mask and cells <= CELLS:
                    gain = self._covered(wider, left) - base
                    jitter = order.random() * 0.3 if order else 0.0
                    options[wider] = gain / (cells / room) + jitter
            if not options:
                return mask
            mask = max(options, key=lambda wider: (options[wider], -wider))

    def merged(self, order: random.Random) -> list[int]:
        """Start with one grid per monomial and merge those that share most, while they fit."""
        grids = set(self.masks)
        grids = {g for g in grids if not any(g != o and g & ~o == 0 for o in grids)}
        pairs: dict[tuple[int, int], float] = {}

        def consider(a: int, b: int) -> None:
            cells = self.cells(a | b)
            if cells <= CELLS:
                growth = cells / max(self.cells(a), self.cells(b))
                pairs[(a, b)] = growth + order.random() * 0.2

        ordered = sorted(grids)
        for i, a in enumerate(ordered):
            for b in ordered[i + 1 :]:
                consider(a, b)
        while pairs:
            a, b = min(pairs, key=lambda pair: (pairs[pair], pair))
            union = a | b
            gone = {g for g in grids if g & ~union == 0}
            grids -= gone
            pairs = {p: v for p, v in pairs.items() if p[0] not in gone and p[1] not in gone}
            for other in sorted(grids):
                consider(min(union, other), max(union, other))
            grids.add(union)
        return sorted(grids)

    def assigned(self, grids: list[int]) -> list[tuple[Grid, list[Monomial]]]:
        """Assign each monomial to the first grid that covers it; drop grids without monomials."""
        lists: list[list[Monomial]] = [[] for _ in grids]
        for monomial, mask in zip(self.monomials, self.masks, strict=True):
            first = next(i for i, grid in enumerate(grids) if mask & ~grid == 0)
            lists[first].append(monomial)
        result = []
        for own in lists:
            if own:
                by_column: dict[int, set[int]] = {}
                for bit in {bit for monomial in own for bit in monomial}:
                    by_column.setdefault(self.layout.code_of_bit[bit].first_bit, set()).add(bit)
                result.append((tuple(tuple(sorted(by_column[c])) for c in sorted(by_column)), own))
        return result
