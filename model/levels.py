"""Levels of points, which the reasons program opens in place of the points themselves.

Edges e_1 < ... < e_7 divide points into levels 0 to 7: the level is the number of edges that the
points reach. e_1 is 1, so that level 0 means no reason.

The comparison reads the level from a table with one position for each value of the points' top bits
(engines/levelled/levels.py), after it has added the least constant that makes all points positive
and with which a position begins at 1. So every edge is 1 plus a multiple of the points of a
position, and with the constant all points are below 2^(score_bits - 1): in the half of the range
that the table covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVELS = 8
LEAST_SCORE_BITS = 8
"""Fewest bits of the points, so that every position of the table is of at least one point."""
_FEW_OUTPUTS = 16


def table_bits(outputs: int) -> int:
    """Return the number of the points' top bits that choose a position of the table."""
    return 8 if outputs <= _FEW_OUTPUTS else 7


def position_points(score_bits: int, outputs: int) -> int:
    """Return the number of points of one position of the table."""
    return 1 << (score_bits - table_bits(outputs))


def shift(low: int, score_bits: int, outputs: int) -> int:
    """Return the constant that is added to points, of which `low` is the least possible."""
    unit = position_points(score_bits, outputs)
    return -((low - 1) // unit) * unit - 1


def fits(low: int, high: int, score_bits: int, outputs: int) -> bool:
    """Return True if points from `low` to `high` have levels with so many bits."""
    return high + shift(low, score_bits, outputs) < 1 << (score_bits - 1)


def valid_edges(edges: Sequence[int], score_bits: int, outputs: int) -> bool:
    """Return True if the edges rise strictly from 1, at begins of positions, within the range."""
    if score_bits < LEAST_SCORE_BITS:
        return False
    unit = position_points(score_bits, outputs)
    return (
        len(edges) == LEVELS - 1
        and edges[0] == 1
        and all(below < above for below, above in pairwise(edges))
        and all((edge - 1) % unit == 0 for edge in edges)
        and edges[-1] < 1 << (score_bits - 1)
    )


def levels_of(points: ArrayLike, edges: Sequence[int]) -> NDArray[np.int64]:
    """Return the level, 0 to 7, of each number of points; any shape."""
    return np.searchsorted(edges, points, side="right")


def chosen_edges(points: NDArray[np.int64], score_bits: int, outputs: int) -> tuple[int, ...]:
    """Return edges for a sample of points, shape (rows, outputs), of denied applicants.

    Quantiles of the positive points, moved to begins of positions, and apart from one another. A
    sample without any counts as evenly spread.
    """
    unit = position_points(score_bits, outputs)
    last = (1 << table_bits(outputs) - 2) - 1
    positive = points[points > 0]
    if not len(positive):
        positive = np.arange(1, last * unit + 1)
    wanted = np.quantile(positive, np.arange(1, LEVELS - 1) / (LEVELS - 1))
    found = [0]
    for above, place in enumerate(np.rint((wanted - 1) / unit).astype(np.int64), 2):
        room = last - (LEVELS - 1 - above)  # the edges above need a position each
        found.append(min(max(int(place), found[-1] + 1), room))
    return tuple(place * unit + 1 for place in found)
