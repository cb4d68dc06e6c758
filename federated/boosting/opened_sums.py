"""Checks of the sums that a step has opened, before a tree is grown on them.

Masks hide each lender's histogram, so that only the sums can be checked. A histogram of nonsense,
of another level or with an overflow does not pass; poisoned values that are consistent do.
"""

from __future__ import annotations

import numpy as np

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


def fault_of_nodes(cells: Cells, histograms: Integers, rows: int) -> str:
    """Return the fault in histograms of nodes (nodes, 2, cells) of at most `rows` rows, or nothing.

    All columns count the same rows, so their cells must have the same sums.
    """
    columns = np.add.reduceat(histograms, cells.first, axis=2)
    if bool((columns != columns[:, :, :1]).any()):
        return "the columns of a node have different sums"
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


def fault_of_children(cells: Cells, place: int, left: Integers, right: Integers) -> str:
    """Return the fault in the children's histograms (2, cells) of a split, or nothing.

    Left has rows with bit number `place` 0 and right those with 1, so that the cells of the other
    side must be empty. For a parent's sums, left + right holds by construction.
    """
    column = int(cells.column_of_bit[place])
    first = int(cells.first[column])
    own = slice(first, first + cells.sizes[column])
    ones = cells.holds[own, place] == 1
    if bool(left[:, own][:, ones].any()) or bool(right[:, own][:, ~ones].any()):
        return "a child has rows that its parent's split sends to the other side"
    return ""
