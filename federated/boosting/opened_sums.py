"""Checks of the sums that a step has opened, before a tree is grown on them.

Masks hide each lender's histogram, so that only the sums can be checked. A histogram of nonsense,
of another level or with an overflow does not pass; poisoned values that are consistent do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from federated.boosting.cells import Cells
from federated.boosting.fixed_point import (
    LARGEST_GRADIENT,
    LARGEST_HESSIAN,
    Integers,
    Vector,
)
from utils.errors import HistogramInvalid


def invalid(tree: int, level: int, fault: str) -> HistogramInvalid:
    """Return the error for inconsistent sums of one step."""
    return HistogramInvalid(
        f"The sums of tree {tree}, level {level} are inconsistent: {fault}. At least one lender of "
        "this step sent a histogram that does not come from its rows. The masks hide which one: "
        "cancel the training, and start it again with the lenders that you trust."
    )


def require_length(tree: int, level: int, sums: Vector, length: int) -> None:
    """Raise HistogramInvalid unless `sums` is a vector of `length` numbers modulo 2^64."""
    if sums.dtype != np.uint64 or sums.shape != (length,):
        raise invalid(tree, level, f"a vector of {length} numbers is expected")


def fault_of_nodes(
    cells: Cells, histograms: Integers, possible: NDArray[np.bool_], rows: int
) -> str:
    """Return the fault in histograms of nodes (nodes, 2, cells) of at most `rows` rows, or nothing.

    All columns count the same rows, so their cells must have the same sums. `possible` (nodes,
    cells) are the cells that a node's path allows. A right child is its parent without the left
    child, so that these checks of both also compare the left child with its parent.
    """
    columns = np.add.reduceat(histograms, cells.first, axis=2)
    if bool((columns != columns[:, :, :1]).any()):
        return "the columns of a node have different sums"
    if bool(np.where(possible[:, None], 0, histograms).any()):
        return "a child has rows that a split sends to the other side"
    for values in (histograms, columns):
        if bool((values[:, 1] < 0).any()):
            return "a sum of hessians is negative"
        if bool((values[:, 1] > rows * LARGEST_HESSIAN).any()):
            return f"a sum of hessians is larger than {rows} rows can have"
        # Both comparisons, since the absolute value of -2^63 overflows.
        limit = rows * LARGEST_GRADIENT
        if bool(((values[:, 0] > limit) | (values[:, 0] < -limit)).any()):
            return f"a sum of gradients is larger than {rows} rows can have"
    return ""
