"""Trainings on synthetic loans, and all that a coordinator opens in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.encoding import Layout
from features.schema import Schema
from federated.boosting.cells import Cells, cells_of
from federated.boosting.fixed_point import Integers, Vector
from federated.boosting.grower import Grower
from federated.boosting.growing import has_scores
from federated.boosting.pooled import total
from federated.boosting.rows import LocalRows
from federated.boosting.scores import LENGTH
from federated.boosting.trees import Splits, Tree, level_of
from federated.boosting.usable_bits import UsableBits, choose_bits
from federated.plan import Plan
from settings import ROOT
from training import synthetic_german

SCHEMA = Schema.load(ROOT / "features" / "german_credit.json")
Data = tuple[NDArray[np.int64], NDArray[np.int64]]
"""States (rows, columns) within the columns, and outcomes (rows,)."""


def plan_of(**more) -> Plan:
    """Return the plan of a default training on the German credit scorecard."""
    return Plan(**{"schema": SCHEMA, **more})


def loans(lenders: int, rows: int, seed: int = 1) -> dict[str, Data]:
    """Return each lender's loans; lenders have different regions."""
    layout = Layout(SCHEMA)
    return {
        f"lender_{i}": encoded(layout, synthetic_german.draw(rows, 100 * seed + i, i % 5))
        for i in range(lenders)
    }


def encoded(layout, frame) -> Data:
    """Return the states and outcomes of a frame of loans."""
    bits = layout.encode_frame(frame.drop(columns=[synthetic_german.TARGET]))
    first = np.array([code.first_state for code in layout.codes])
    return layout.states(bits) - first, frame[synthetic_german.TARGET].to_numpy().astype(np.int64)


def together(data: Mapping[str, Data]) -> Data:
    """Return all lenders' rows as those of one."""
    states, outcomes = zip(*data.values(), strict=True)
    return np.concatenate(states), np.concatenate(outcomes)


@dataclass(frozen=True)
class View:
    """All that a coordinator opens in a training.

    `counts` is the first count. `sums` (nodes, 2, cells) are the sums of gradients and hessians of
    every node that was open, those of right children by subtraction; `places` are their trees and
    nodes.
    """

    plan: Plan
    usable: UsableBits
    trees: tuple[Tree, ...]
    counts: Vector
    places: tuple[tuple[int, int], ...]
    sums: Integers

    @property
    def cells(self) -> Cells:
        return cells_of(self.plan, self.usable)


def opened_by(plan: Plan, data: Mapping[str, Data], usable: UsableBits | None = None) -> View:
    """Train by plain sums over these lenders, which are those that a coordinator opens."""
    lenders = [LocalRows(plan, *one) for one in data.values()]
    counts = total(rows.counts() for rows in lenders)
    usable = usable or choose_bits(plan, counts)
    for rows in lenders:
        rows.begin(usable)
    grower = Grower(plan, usable)
    places, sums = [], []
    while len(grower.trees) < plan.trees:
        growing = grower.growing
        vector = total(rows.vector(growing.tree, growing.level) for rows in lenders)
        nodes = histograms(plan, vector, growing, dict(zip(places, sums, strict=True)))
        result = grower.take(growing.tree, growing.level, vector)
        if result.splits is None:
            break
        places += [(growing.tree, node) for node in nodes]
        sums += nodes.values()
        for rows in lenders:
            rows.apply(result.splits)
    return View(plan, usable, grower.trees, counts, tuple(places), np.stack(sums))


def histograms(plan, vector, growing, known) -> dict[int, Integers]:
    """Return the histograms (2, cells) of a level's nodes from its opened sums."""
    if has_scores(plan, growing.tree, growing.level):
        vector = vector[:-LENGTH]
    sent = vector.view(np.int64).reshape(len(growing.sent), 2, -1)
    found = dict(zip(growing.sent, sent, strict=True))
    if growing.level:
        for node in growing.sent:
            parent = known[growing.tree, (node - 1) // 2]
            found[node + 1] = parent - found[node]
    return found


def seen_of(view: View, data: Data) -> View:
    """Return the histograms of one lender's rows alone, under the trees of `view`."""
    rows = LocalRows(view.plan, *data)
    rows.begin(view.usable)
    places, sums = [], []
    for tree in view.trees:
        done = None
        while done is None:
            growing = rows.growing
            vector = rows.vector(growing.tree, growing.level)
            known = dict(zip(places, sums, strict=True))
            nodes = histograms(view.plan, vector, growing, known)
            places += [(growing.tree, node) for node in nodes]
            sums += nodes.values()
            own = tuple(s for s in tree.splits if level_of(s.node) == growing.level)
            level = Splits(tree=growing.tree, level=growing.level, root=tree.root, splits=own)
            done = rows.apply(level)
    return View(view.plan, view.usable, view.trees, rows.counts(), tuple(places), np.stack(sums))


def merged(view: View, data: Data) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells of training rows (rows, columns), within the columns, and outcomes.

    States that the training merges count as one value.
    """
    rows = LocalRows(view.plan, *data)._training
    cells = view.cells
    pairs = zip(cells.columns, cells.of_states, strict=True)
    own = [of_states[rows.states[column]] for column, of_states in pairs]
    return np.stack(own, axis=1).astype(np.int64), rows.outcomes.astype(np.int64)


def points_of(view: View, data: Data) -> Counter[tuple[int, int]]:
    """Return training rows as positions in the grid of all cells, with outcomes, counted."""
    columns, outcomes = merged(view, data)
    points = np.ravel_multi_index(tuple(columns.T), view.cells.sizes)
    return Counter(zip(points.tolist(), outcomes.tolist(), strict=True))
