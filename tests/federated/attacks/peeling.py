"""Rebuilding rows from the opened histograms of a training, exactly.

The trees are public, so that the gradient of every possible row in every tree is known to 30 bits.
A cell of one row or of two is hence recognised: its sums are those of one possible row, or of a
pair, and nearly never by accident. A row that is found is subtracted from the histograms of all
trees, which leaves further cells of one or two rows, and so on.

This is the leak of a linear sketch that is read exactly, as in decoding invertible Bloom lookup
tables (Goodrich and Mitzenmacher, 2011). TimberStrike (arXiv 2506.07605) optimises instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from federated.boosting.fixed_point import LARGEST_HESSIAN, Integers, gradients
from federated.boosting.trees import leaves, level_of, route
from tests.federated.attacks.views import View

MOST_CANDIDATES = 4096
"""Possible rows of one margin that are compared with the other columns' cells."""


@dataclass
class Domain:
    """All possible rows of a training, up to states that no tree tells apart.

    `cells` (columns, points) are positions of a point's cells in a histogram. `margins` (trees,
    points) are those before each tree, and `nodes` (trees, points) the deepest node opened.
    """

    cells: NDArray[np.int32]
    margins: NDArray[np.int32]
    nodes: NDArray[np.uint8]

    @classmethod
    def of(cls, view: View, trees: tuple[int, ...]) -> Domain:
        """Return the domain with the margins and nodes of some trees only."""
        layout, cells = view.plan.layout, view.cells
        grid = np.indices(cells.sizes, np.uint8).reshape(len(cells.sizes), -1)
        states = np.zeros((len(layout.codes), grid.shape[1]), np.uint8)
        for own, column, of_states in zip(grid, cells.columns, cells.of_states, strict=True):
            first = np.array([np.argmax(of_states == cell) for cell in range(own.max() + 1)])
            states[column] = first[own]
        total = np.zeros(grid.shape[1], np.int64)
        margins, nodes = {}, {}
        for number, tree in enumerate(view.trees):
            margins[number] = total.astype(np.int32)
            own = np.zeros(grid.shape[1], np.uint8)
            last = view.plan.depth - 1
            route(own, [s for s in tree.splits if level_of(s.node) < last], layout, states)
            nodes[number] = own.copy()
            route(own, [s for s in tree.splits if level_of(s.node) == last], layout, states)
            total += leaves(tree, own)
        return cls(
            grid.astype(np.int32) + cells.first[:, None].astype(np.int32),
            np.stack([margins[t] for t in trees]),
            np.stack([nodes[t] for t in trees]),
        )


@dataclass
class Peeling:
    """The state of the attack on some trees of a view; `found` has (point, outcome) with counts."""

    view: View
    trees: tuple[int, ...]
    most_rows: int = 2
    domain: Domain = field(init=False)
    found: Counter[tuple[int, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.domain = Domain.of(self.view, self.trees)
        self.left = {
            (tree, node): sums.copy()
            for (tree, node), sums in zip(self.view.places, self.view.sums, strict=True)
            if tree in self.trees
        }
        self._tables: dict[int, tuple[Integers, Integers]] = {}

    def run(self, rounds: int = 20) -> Counter[tuple[int, int]]:
        """Peel until a round over all trees finds nothing; returns the rows found."""
        for _ in range(rounds):
            before = self.found.total()
            for place in reversed(range(len(self.trees))):
                self._peel(place)
            if self.found.total() == before:
                break
        return self.found

    def _peel(self, place: int) -> None:
        """Find rows in small cells of one tree, until there are none."""
        g, h = self._gradients(place)
        order = np.argsort(g.reshape(-1), kind="stable")
        sorted_g = g.reshape(-1)[order]
        tried: set[tuple[int, int, int, int]] = set()
        while True:
            new = Counter(self._in_tree(place, g, h, order, sorted_g, tried))
            # A row is seen in one cell of each column, and in nodes and their parents.
            for row in new:
                self._subtract(row)
            if not new:
                return

    def _in_tree(self, place, g, h, order, sorted_g, tried) -> Iterator[tuple[int, int]]:
        tree, count = self.trees[place], g.shape[1]
        for (own, node), sums in self.left.items():
            if own != tree:
                continue
            small = (sums[1] > 0) & (sums[1] <= self.most_rows * LARGEST_HESSIAN)
            for cell in np.flatnonzero(small).tolist():
                key = node, cell, int(sums[0, cell]), int(sums[1, cell])
                if key in tried:
                    continue
                tried.add(key)
                rows = self._decoded(place, node, cell, key[2:], (g, h, order, sorted_g))
                for row in rows:
                    yield row % count, row // count

    def _decoded(self, place, node, cell, sums, tables) -> list[int]:
        """Return the one row, or two, of a cell, as flat indices; empty if there are more."""
        g, h, order, sorted_g = tables
        flat_h = h.reshape(-1)
        at = slice(*np.searchsorted(sorted_g, [sums[0], sums[0] + 1]))
        one = [i for i in order[at] if flat_h[i] == sums[1] and self._fits(place, node, cell, i)]
        if 1 < len(one) <= MOST_CANDIDATES:
            one = [i for i in one if self._possible(int(i))]
        if len(one) == 1:
            return [int(one[0])]
        if one or self.most_rows < 2:
            return []
        return self._pair(place, node, cell, sums, g, h)

    def _pair(self, place, node, cell, sums, g, h) -> list[int]:
        inside = self._members(place, node, cell)
        own_g, own_h = g[:, inside].reshape(-1), h[:, inside].reshape(-1)
        order = np.argsort(own_g, kind="stable")
        ranked = own_g[order]
        wanted = sums[0] - own_g
        first, last = (np.searchsorted(ranked, wanted, side) for side in ("left", "right"))
        pairs = []
        for i in np.flatnonzero(first < last):
            for j in order[first[i] : last[i]]:
                if i < j and own_h[i] + own_h[j] == sums[1]:
                    pairs.append((i, j))
                    if len(pairs) > 1:
                        return []
        if not pairs:
            return []
        count, size = g.shape[1], int(inside.sum())
        points = np.flatnonzero(inside)
        return [int(points[i % size] + i // size * count) for i in pairs[0]]

    def _fits(self, place, node, cell, row) -> bool:
        point = row % self.domain.nodes.shape[1]
        return bool(
            (self.domain.cells[:, point] == cell).any()
            and node in ancestors(int(self.domain.nodes[place, point]))
        )

    def _possible(self, row: int) -> bool:
        """Return whether a row's hessians fit into all of its cells, of all columns and trees."""
        point = row % self.domain.nodes.shape[1]
        margins = self.domain.margins[:, point].astype(np.int64)
        _, h = gradients(margins, np.zeros(margins.shape, np.int8))
        cells = self.domain.cells[:, point]
        return all(
            bool((self.left[tree, node][1, cells] >= h[place]).all())
            for place, tree in enumerate(self.trees)
            for node in ancestors(int(self.domain.nodes[place, point]))
        )

    def _members(self, place, node, cell) -> NDArray[np.bool_]:
        below = [n for n in range(15) if node in ancestors(n)]
        return (self.domain.cells == cell).any(axis=0) & np.isin(self.domain.nodes[place], below)

    def _gradients(self, place) -> tuple[Integers, Integers]:
        """Return g and h of all points in one tree, shape (outcome, points)."""
        margins = self.domain.margins[place].astype(np.int64)
        both = [gradients(margins, np.full(margins.shape, y, np.int8)) for y in (0, 1)]
        return np.stack([one[0] for one in both]), np.stack([one[1] for one in both])

    def _subtract(self, row: tuple[int, int]) -> None:
        point, outcome = row
        margins = self.domain.margins[:, point].astype(np.int64)
        g, h = gradients(margins, np.full(margins.shape, outcome, np.int8))
        cells = self.domain.cells[:, point]
        for place, tree in enumerate(self.trees):
            for node in ancestors(int(self.domain.nodes[place, point])):
                sums = self.left[tree, node]
                sums[0, cells] -= g[place]
                sums[1, cells] -= h[place]
        self.found[row] += 1


def ancestors(node: int) -> list[int]:
    """Return a node and all above it."""
    found = [node]
    while node:
        node = (node - 1) // 2
        found.append(node)
    return found
