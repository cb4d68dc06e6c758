"""Histograms of a lender's rows: for each node and cell, the sums of gradients and hessians.

Several columns are counted at once, in the product of their cells, and summed over the others
afterwards: 20 columns of 5 cells take 7 passes over the rows instead of 20.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.boosting.cells import Cells
from federated.boosting.fixed_point import Integers

_JOINT_CELLS = 512
"""Maximum product of cells; one node's sums then fit into a processor's first cache."""


class JointCells:
    """The cells of rows, several columns in one number; `states` is (columns, rows)."""

    def __init__(self, cells: Cells, states: NDArray[np.uint8]) -> None:
        self._cells = cells
        self._groups: list[tuple[int, ...]] = []
        self._joint: list[NDArray[np.uint16]] = []
        sizes = cells.sizes
        start = 0
        while start < len(sizes):
            end, product = start + 1, sizes[start]
            while end < len(sizes) and product * sizes[end] <= _JOINT_CELLS:
                product *= sizes[end]
                end += 1
            joint = np.zeros(states.shape[1], np.uint16)
            for position in range(start, end):
                own = cells.of_states[position][states[cells.columns[position]]]
                joint = joint * np.uint16(sizes[position]) + own
            self._groups.append(tuple(sizes[start:end]))
            self._joint.append(joint)
            start = end

    def histogram(
        self,
        nodes: NDArray[np.uint8],
        wanted: tuple[int, ...],
        g: Integers,
        h: Integers,
    ) -> Integers:
        """Return the sums of `g` and `h`, shape (wanted nodes, 2, cells), of the rows' `nodes`.

        All sums are exact: they are below 2^53 in size (see fixed_point).
        """
        result = np.empty((len(wanted), 2, self._cells.count), np.int64)
        slots = np.full(256, len(wanted), np.intp)
        slots[list(wanted)] = np.arange(len(wanted))
        slot = slots[nodes]
        rows: NDArray[np.intp] | slice = slice(None)
        if bool((slot == len(wanted)).any()):
            rows = np.flatnonzero(slot < len(wanted))
            slot = slot[rows]
        weights = (g[rows].astype(np.float64), h[rows].astype(np.float64))
        first = 0
        for sizes, joint in zip(self._groups, self._joint, strict=True):
            product = int(np.prod(sizes))
            index = slot * product + joint[rows]
            for part, weight in enumerate(weights):
                sums = np.bincount(index, weight, len(wanted) * product).astype(np.int64)
                _marginals(
                    sums.reshape(len(wanted), *sizes),
                    result[:, part, first : first + sum(sizes)],
                )
            first += sum(sizes)
        return result


def _marginals(joint: Integers, out: Integers) -> None:
    """Write the sums over all but one of the columns' axes of `joint`, for each of them."""
    first = 0
    for axis in range(1, joint.ndim):
        others = tuple(a for a in range(1, joint.ndim) if a != axis)
        size = joint.shape[axis]
        out[:, first : first + size] = joint.sum(axis=others)
        first += size
