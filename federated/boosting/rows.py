"""The rows of one lender: what it sends in each step, and how its rows follow the trees.

Nothing that is derived here from single rows leaves the lender; `counts` and `vector` return sums,
which the lender masks before it sends them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits
from federated.boosting.cells import Cells, cells_of
from federated.boosting.fixed_point import MAXIMUM_LENDER_ROWS, Integers, Vector, gradients
from federated.boosting.growing import Growing, check_tree, has_scores, vector_length
from federated.boosting.histograms import JointCells
from federated.boosting.scores import score_histogram
from federated.boosting.trees import Splits, Tree, leaves, route
from federated.boosting.usable_bits import UsableBits
from federated.plan import Plan
from utils.errors import MessageOutOfOrder, TrainingDataInvalid

States = NDArray[np.uint8]


class _Rows:
    """Rows with their margins, and the nodes that they have reached in the current tree."""

    def __init__(self, states: States, outcomes: NDArray[np.int8]) -> None:
        self.states, self.outcomes = states, outcomes
        self.nodes = np.zeros(len(outcomes), np.uint8)
        self.margins: Integers = np.zeros(len(outcomes), np.int64)


class LocalRows:
    """One lender's rows; raises TrainingDataInvalid for input that the schema does not allow.

    `states` (rows, columns) are counted within the column; `outcomes` (rows,) has 1 for approved
    and 0 for denied. Call `begin` once, then, for each step, `vector` and `apply`.

    A row's content and the plan's seed decide whether it is a validation row, so that equal rows
    are on the same side whichever lender has them and in whichever order.
    """

    def __init__(self, plan: Plan, states: NDArray[np.integer[Any]], outcomes: Any) -> None:
        self._plan = plan
        columns = _checked_states(plan, states)
        labels = _checked_outcomes(outcomes, columns.shape[1])
        held_out = validation_rows(plan.seed, plan.validation_share, columns, labels)
        self._training = _Rows(np.ascontiguousarray(columns[:, ~held_out]), labels[~held_out])
        self._validation = _Rows(np.ascontiguousarray(columns[:, held_out]), labels[held_out])
        self._cells: Cells | None = None
        self._joint: JointCells | None = None
        self._growing = Growing(0)
        self._trees: list[Tree] = []
        self._gradients: tuple[Integers, Integers] | None = None

    @classmethod
    def from_bits(cls, plan: Plan, bits: Bits, outcomes: Any) -> LocalRows:
        """Return rows from the bits of `Layout.encode_frame`, shape (rows, n_bits)."""
        first = np.array([code.first_state for code in plan.layout.codes])
        return cls(plan, plan.layout.states(bits) - first, outcomes)

    @property
    def n_training(self) -> int:
        return len(self._training.outcomes)

    @property
    def n_validation(self) -> int:
        return len(self._validation.outcomes)

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The finished trees."""
        return tuple(self._trees)

    @property
    def growing(self) -> Growing:
        """The tree that is being grown, with the next level."""
        return self._growing

    def counts(self) -> Vector:
        """Return the counts of federated/boosting/counts.py."""
        layout, rows = self._plan.layout, self._training
        parts = [
            np.bincount(rows.states[i][rows.outcomes == outcome], minlength=code.n_states)
            for outcome in (0, 1)
            for i, code in enumerate(layout.codes)
        ]
        parts.append(np.bincount(self._validation.outcomes, minlength=2))
        return np.concatenate(parts).astype(np.uint64)

    def begin(self, usable: UsableBits) -> None:
        """Prepare the first tree; raises SplitsInvalid for bits that the schema does not have."""
        self._cells = cells_of(self._plan, usable)
        self._joint = JointCells(self._cells, self._training.states)
        self.restore(())

    @property
    def cells(self) -> Cells:
        """The cells of its histograms; raises MessageOutOfOrder before the first count."""
        return self._started()[0]

    def length(self) -> int:
        """Return the length of the next step's vector."""
        return vector_length(self._plan, self._started()[0], self._growing)

    def vector(self, tree: int, level: int) -> Vector:
        """Return the next step's sums, modulo 2^64; a repeated call returns the same.

        It has, for each node of `growing.sent`, the gradients of all cells and then their hessians;
        with the root of tree 1 and later, the score histogram follows. The step after the last
        tree has the score histogram alone. Raises MessageOutOfOrder for another step.
        """
        _, joint = self._started()
        self._growing.expect(tree, level)
        parts: list[Vector] = []
        if tree < self._plan.trees:
            if self._gradients is None:
                self._gradients = gradients(self._training.margins, self._training.outcomes)
            nodes, sent = self._training.nodes, self._growing.sent
            sums = joint.histogram(nodes, sent, *self._gradients)
            parts.append(sums.reshape(-1).view(np.uint64))
        if has_scores(self._plan, tree, level):
            held_out = self._validation
            parts.append(score_histogram(held_out.margins, held_out.outcomes))
        return np.concatenate(parts) if parts else np.zeros(0, np.uint64)

    def apply(self, splits: Splits) -> Tree | None:
        """Follow the splits announced for the current level; returns the tree when it is complete.

        Raises MessageOutOfOrder and SplitsInvalid, and then changes nothing.
        """
        growing = self._growing.after(self._plan, self._started()[0], splits)
        for rows in (self._training, self._validation):
            route(rows.nodes, splits.splits, self._plan.layout, rows.states)
        self._growing = growing
        return self.cut() if growing.is_done(self._plan) else None

    def cut(self) -> Tree:
        """End the current tree at the level reached; raises MessageOutOfOrder before the first."""
        tree = self._growing.finished()
        self._end(tree)
        return tree

    def add(self, tree: Tree) -> None:
        """Take the next tree as a whole, for a lender that was away; raises SplitsInvalid."""
        check_tree(self._plan, self._started()[0], tree)
        if len(self._trees) == self._plan.trees:
            raise MessageOutOfOrder(
                f"The plan has {self._plan.trees} trees, and all are there; ignore further ones."
            )
        for rows in (self._training, self._validation):
            rows.nodes[:] = 0
            route(rows.nodes, tree.splits, self._plan.layout, rows.states)
        self._end(tree)

    def restore(self, trees: Sequence[Tree], growing: Sequence[Splits] = ()) -> None:
        """Return to the state after `trees` and the levels `growing` of the next one.

        Margins are computed again from the trees. Raises as `add` and `apply`.
        """
        self._started()
        self._trees = []
        for rows in (self._training, self._validation):
            rows.margins[:] = 0
        self._renew()
        for tree in trees:
            self.add(tree)
        for splits in growing:
            self.apply(splits)

    def _started(self) -> tuple[Cells, JointCells]:
        if self._cells is None or self._joint is None:
            raise MessageOutOfOrder(
                "The usable bits are not known yet; take part in the first count before any tree."
            )
        return self._cells, self._joint

    def _end(self, tree: Tree) -> None:
        for rows in (self._training, self._validation):
            rows.margins += leaves(tree, rows.nodes)
        self._trees.append(tree)
        self._renew()

    def _renew(self) -> None:
        for rows in (self._training, self._validation):
            rows.nodes[:] = 0
        self._growing = Growing(len(self._trees))
        self._gradients = None


def _checked_states(plan: Plan, states: Any) -> States:
    """Return the states as (columns, rows)."""
    codes = plan.layout.codes
    given = np.asarray(states)
    if given.ndim != 2 or given.shape[1] != len(codes) or given.dtype.kind not in "iu":
        raise TrainingDataInvalid(
            f"The rows must be whole numbers in a table of {len(codes)} columns, one for each "
            "column of the schema; encode the data with the schema first."
        )
    if not 1 <= len(given) <= MAXIMUM_LENDER_ROWS:
        raise TrainingDataInvalid(
            f"A lender takes part with 1 to {MAXIMUM_LENDER_ROWS} rows, not {len(given)}."
        )
    for code, column in zip(codes, given.T, strict=True):
        if column.min() < 0 or column.max() >= code.n_states:
            raise TrainingDataInvalid(
                f"Column {code.column.name} has states beyond 0 to {code.n_states - 1}; encode the "
                "data with the schema of the plan."
            )
    return np.ascontiguousarray(given.T.astype(np.uint8))


def _checked_outcomes(outcomes: Any, rows: int) -> NDArray[np.int8]:
    given = np.asarray(outcomes)
    if given.shape != (rows,) or given.dtype.kind not in "biuf":
        raise TrainingDataInvalid(f"There must be one outcome, 0 or 1, for each of {rows} rows.")
    if not bool(((given == 0) | (given == 1)).all()):  # false for NaN as well
        raise TrainingDataInvalid(
            "An outcome is neither 0 (denied) nor 1 (approved); remove rows without an outcome."
        )
    return given.astype(np.int8)


def validation_rows(
    seed: int, share: float, columns: States, outcomes: NDArray[np.int8]
) -> NDArray[np.bool_]:
    """Return which rows are validation rows, shape (rows,): those with a low keyed hash.

    `columns` are states (columns, rows), counted within the column; `seed` and `share` are those of
    the plan. The hash is BLAKE2b (RFC 7693).
    """
    if not share:
        return np.zeros(len(outcomes), np.bool_)
    content = np.vstack([columns, outcomes.astype(np.uint8)]).T.tobytes()
    width = len(columns) + 1
    start = hashlib.blake2b(key=seed.to_bytes(8, "big"), digest_size=8)
    limit = int(share * 2.0**64).to_bytes(8, "big")

    def below(row: bytes) -> bool:
        own = start.copy()
        own.update(row)
        return own.digest() < limit

    rows = range(0, len(content), width)
    return np.fromiter((below(content[i : i + width]) for i in rows), np.bool_, len(outcomes))
