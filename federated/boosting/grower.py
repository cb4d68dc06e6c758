"""The coordinator's side of boosting: from the opened sums of a step to the splits of a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from federated.boosting.cells import Cells, cells_of
from federated.boosting.fixed_point import MAXIMUM_ROWS, Integers, Vector, leaf
from federated.boosting.gain import Best, Bounds, best_splits, node_totals, node_weight
from federated.boosting.growing import Growing, check_tree, has_scores, vector_length
from federated.boosting.opened_sums import fault_of_nodes, invalid, require_length
from federated.boosting.scores import LENGTH, auc, best_trees, should_stop
from federated.boosting.trees import Split, Splits, Tree
from federated.boosting.usable_bits import UsableBits
from federated.plan import Plan
from federated.privacy.consistency import consistent
from utils.errors import MessageOutOfOrder


@dataclass(frozen=True)
class LevelResult:
    """The result of one step.

    `splits` are to be announced; they are None if no tree grows, since the training stops. `tree`
    is set if the level was the tree's last. `auc` is that of the finished trees on validation rows,
    if the step has opened it. After `stop`, no further step follows.
    """

    splits: Splits | None
    tree: Tree | None
    auc: float | None
    stop: bool


@dataclass(frozen=True)
class _Node:
    """An open node: its sums (2, cells), its weight's bounds, the cells that its path allows."""

    histogram: Integers
    bounds: Bounds
    possible: NDArray[np.bool_]


@dataclass(frozen=True)
class _Parent:
    """A node that the level before has split, with its children's bounds and cells."""

    histogram: Integers
    bounds: tuple[Bounds, Bounds]
    possible: tuple[NDArray[np.bool_], NDArray[np.bool_]]


class Grower:
    """Grows the trees of a plan, one level a step, without rows.

    After a restart, give the finished `trees` and `aucs`, and take the current tree's sums again.
    Raises SplitsInvalid for trees that do not fit the plan, and ValueError if AUCs are missing.
    """

    def __init__(
        self,
        plan: Plan,
        usable: UsableBits,
        trees: Sequence[Tree] = (),
        aucs: Sequence[float] = (),
    ) -> None:
        self._plan = plan
        self._cells: Cells = cells_of(plan, usable)
        for tree in trees:
            check_tree(plan, self._cells, tree)
        if plan.validation_share > 0 and len(trees) - len(aucs) not in (0, 1):
            raise ValueError(f"{len(aucs)} AUCs do not belong to {len(trees)} trees")
        self._trees, self._aucs = list(trees), list(aucs)
        full = len(trees) == plan.trees
        opened = 0 < len(trees) == len(aucs)
        self._stopped = opened and (full or should_stop(aucs, plan.early_stopping))
        self._growing = Growing(len(self._trees))
        self._parents: list[_Parent] = []

    @property
    def trees(self) -> tuple[Tree, ...]:
        """All finished trees."""
        return tuple(self._trees)

    @property
    def aucs(self) -> tuple[float, ...]:
        """The validation AUC of the first 1, 2, … trees."""
        return tuple(self._aucs)

    @property
    def growing(self) -> Growing:
        """The tree that is being grown, with the next level."""
        return self._growing

    @property
    def done(self) -> bool:
        """True if no further step follows."""
        full = len(self._trees) == self._plan.trees
        return self._stopped or (full and self.length() == 0)

    def kept(self) -> tuple[Tree, ...]:
        """Return the trees of the model: with early stopping, the best number of them."""
        if self._plan.early_stopping is None or not self._aucs:
            return self.trees
        return self.trees[: best_trees(self._aucs)]

    def length(self) -> int:
        """Return the length of the next step's vector."""
        return vector_length(self._plan, self._cells, self._growing)

    def take(self, tree: int, level: int, sums: Vector, rows: int | None = None) -> LevelResult:
        """Take a step's opened sums; returns the splits of the level.

        `rows` is an upper bound of the training rows of this step's lenders: `UsableBits.rows` if
        all of them were counted, and by default the largest number allowed. Raises
        MessageOutOfOrder for another step, and HistogramInvalid for inconsistent sums; nothing is
        changed then.
        """
        plan = self._plan
        self._growing.expect(tree, level)
        if self._stopped:
            raise MessageOutOfOrder("The training has stopped; start no further step.")
        require_length(tree, level, sums, self.length())
        found: float | None = None
        if has_scores(plan, tree, level):
            sums, scores = sums[:-LENGTH], sums[-LENGTH:]
            found = auc(plan, scores)
            aucs = [*self._aucs[: tree - 1], found]
            if tree == plan.trees or should_stop(aucs, plan.early_stopping):
                self._aucs, self._stopped = aucs, True
                return LevelResult(None, None, found, True)
        limit = MAXIMUM_ROWS if rows is None else min(rows, MAXIMUM_ROWS)
        nodes = self._nodes(sums, limit)
        splits, parents = self._split(nodes)
        self._growing = self._growing.after(plan, self._cells, splits)
        self._parents = parents
        if found is not None:
            self._aucs = aucs
        finished = self.cut() if self._growing.is_done(plan) else None
        return LevelResult(splits, finished, found, finished is not None and self.done)

    def cut(self) -> Tree:
        """End the current tree at the level reached; raises MessageOutOfOrder before the first."""
        tree = self._growing.finished()
        self._trees.append(tree)
        self._renew()
        return tree

    def _renew(self) -> None:
        self._growing = Growing(len(self._trees))
        self._parents = []

    def _nodes(self, sums: Vector, rows: int) -> list[_Node]:
        """Return the open nodes in the order of the candidates; raises HistogramInvalid."""
        sent = sums.view(np.int64).reshape(len(self._growing.sent), 2, self._cells.count)
        if self._growing.level == 0:
            everywhere = np.ones(self._cells.count, np.bool_)
            nodes = [_Node(self._estimate(sent[0], everywhere), Bounds(), everywhere)]
        else:
            nodes = []
            for parent, sums_of_left in zip(self._parents, sent, strict=True):
                left = self._estimate(sums_of_left, parent.possible[0])
                right = self._estimate(parent.histogram - left, parent.possible[1])
                nodes += map(_Node, (left, right), parent.bounds, parent.possible)
        if self._plan.privacy is None:
            histograms = np.stack([node.histogram for node in nodes])
            possible = np.stack([node.possible for node in nodes])
            fault = fault_of_nodes(self._cells, histograms, possible, rows)
            if fault:
                raise invalid(self._growing.tree, self._growing.level, fault)
        return nodes

    def _estimate(self, histogram: Integers, possible: NDArray[np.bool_]) -> Integers:
        """Return a node's sums; under noise, the nearest ones that are consistent.

        Excluded cells hold noise alone, on which a path could split by the same bit again.
        """
        if self._plan.privacy is None:
            return histogram
        return consistent(histogram, self._cells.sizes, possible)

    def _split(self, nodes: list[_Node]) -> tuple[Splits, list[_Parent]]:
        plan, cells, growing = self._plan, self._cells, self._growing
        histograms = np.stack([node.histogram for node in nodes])
        totals = node_totals(cells, histograms)
        bounds = [node.bounds for node in nodes]
        best = best_splits(plan, cells, histograms, totals, bounds)
        splits, parents = [], []
        for place, node, found in zip(growing.candidates, nodes, best, strict=True):
            if found is not None:
                split, parent = self._chosen(place, node, found)
                splits.append(split)
                parents.append(parent)
        root = growing.root
        if growing.level == 0:
            weight = node_weight(plan, int(totals[0, 0]), int(totals[0, 1]))
            root = leaf(weight * plan.learning_rate)
        announced = Splits(tree=growing.tree, level=growing.level, root=root, splits=tuple(splits))
        return announced, parents

    def _chosen(self, number: int, node: _Node, found: Best) -> tuple[Split, _Parent]:
        bit, rate = self._cells.bits[found.place], self._plan.learning_rate
        split = Split(
            node=number, bit=bit, left=leaf(found.left * rate), right=leaf(found.right * rate)
        )
        bounds = node.bounds.children(found.left, found.right, bit in self._plan.monotone)
        ones = self._cells.holds[:, found.place] == 1
        others = self._cells.others(found.place)
        possible = node.possible & (others | ~ones), node.possible & (others | ones)
        return split, _Parent(node.histogram, bounds, possible)
