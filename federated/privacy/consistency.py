"""Histograms with noise, made consistent with all that is known of them.

Every column of a node's histogram counts the same rows, so its cells add up to the same sum; with
noise they do not. The agreed sum is the mean of the columns' sums, each weighted by 1/(its cells),
the inverse of its variance, and each column spreads its difference evenly over its cells. That is
the least-squares estimate (Hay et al., VLDB 2010): the noise of a node's sum falls from n units for
a column of n cells to 1/Σ(1/n) over all columns. Cells that the node's path excludes are empty, but
for noise, on which a split would seem to gain; they become 0 and do not count as cells. Both steps
use opened sums and public splits alone and spend no budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from utils.errors import PrivacyInvalid

Integers = NDArray[np.int64]


def consistent(histograms: Integers, sizes: Sequence[int], possible: NDArray[np.bool_]) -> Integers:
    """Return one node's histograms (..., cells) without impossible cells, all columns agreeing.

    `sizes` has the number of cells of each column; `possible` (cells,) is false where the node can
    have no rows, and true in at least one cell of each column. All arithmetic is on integers, so
    that every machine computes the same; remainders go to a column's first cells. Raises
    PrivacyInvalid if the sizes do not fit.
    """
    cells = histograms.shape[-1]
    first = np.cumsum([0, *sizes[:-1]])
    fits = bool(sizes) and min(sizes) > 0 and sum(sizes) == cells and possible.shape == (cells,)
    if not fits or not bool(np.logical_or.reduceat(possible, first).all()):
        raise PrivacyInvalid("The histograms do not have the cells of these columns; restart.")
    counts = np.add.reduceat(possible.astype(np.int64), first)
    kept = np.where(possible, histograms, 0)
    columns = np.add.reduceat(kept, first, axis=-1).reshape(-1, len(sizes))
    agreed = [_weighted_mean(row, counts.tolist()) for row in columns.tolist()]
    each, rest = np.divmod(np.array(agreed, np.int64)[:, None] - columns, counts)
    before = np.cumsum(possible) - 1  # possible cells before this one, then within its column
    place = before - np.repeat(before[first] + 1 - possible[first], sizes)
    added = np.repeat(each, sizes, axis=1) + (place < np.repeat(rest, sizes, axis=1))
    result: Integers = kept + np.where(possible, added, 0).reshape(histograms.shape)
    return result


def _weighted_mean(sums: list[int], cells: list[int]) -> int:
    """Return the mean of sums with weights 1/cells, rounded half up, exactly."""
    unit = math.lcm(*cells)
    weights = [unit // count for count in cells]
    numerator = sum(w * s for w, s in zip(weights, sums, strict=True))
    return (2 * numerator + sum(weights)) // (2 * sum(weights))
