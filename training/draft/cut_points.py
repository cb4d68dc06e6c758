"""Public cut points of a numeric column: round numbers near its quantiles.

The cuts are part of the public schema, so that no cut may tell of single rows: every bin keeps a
minimum number of rows, and limits are rounded outwards from values that many rows reach. The
labels are not used.
"""

from __future__ import annotations

import heapq
import math
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

FEWEST_ROWS = 20
SMALLEST_SHARE = 0.005
_INNER = 0.2
"""A bin is divided at the roundest number between its quantiles 0.5 - 0.2 and 0.5 + 0.2."""

Numbers = NDArray[np.float64]


def fewest_rows(rows: int) -> int:
    """Return the minimum number of rows of a bin or a category in a file of `rows` rows."""
    return max(FEWEST_ROWS, math.ceil(SMALLEST_SHARE * rows))


def cut_points(values: Numbers, bins: int, fewest: int, integer: bool) -> list[float]:
    """Return at most `bins` - 1 rising cuts; each bin has at least `fewest` of the `values`.

    `values` (n,) has no missing ones. Repeatedly divides the bin with the most rows, as near its
    median as a round number allows. The list is empty if no division is possible.
    """
    distinct, counts = np.unique(values, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    cuts: list[float] = []
    # Bins as ranges of distinct values; the first has the most rows.
    heap = [(-int(below[-1]), 0, len(distinct))]
    while heap and len(cuts) < bins - 1:
        _, first, end = heapq.heappop(heap)
        span = _divisible(below, first, end, fewest)
        if span is None:
            continue
        low, high = span
        middle = float(distinct[(low + high) // 2])
        cut = roundest(float(distinct[low - 1]), float(distinct[high]), middle, integer)
        position = int(np.searchsorted(distinct, cut, side="left"))
        cuts.append(cut)
        for start, stop in ((first, position), (position, end)):
            heapq.heappush(heap, (-int(below[stop] - below[start]), start, stop))
    return sorted(cuts)


def _divisible(
    below: NDArray[np.int64], first: int, end: int, fewest: int
) -> tuple[int, int] | None:
    """Return the first and last position at which a bin may be divided, or None.

    A division at position p puts the distinct values before p into the lower bin.
    """
    rows = int(below[end] - below[first])
    left = below[first + 1 : end] - below[first]  # rows below each inner position
    allowed = np.flatnonzero((left >= fewest) & (rows - left >= fewest))
    if not len(allowed):
        return None
    inner = allowed[np.abs(left[allowed] / rows - 0.5) <= _INNER]
    if not len(inner):
        inner = allowed[[np.argmin(np.abs(left[allowed] / rows - 0.5))]]
    return first + 1 + int(inner[0]), first + 1 + int(inner[-1])


def roundest(low: float, high: float, near: float, integer: bool = False) -> float:
    """Return the roundest number above `low` and up to `high`; of several, that nearest to `near`.

    A number is rounder than another if it is a multiple of a larger 1, 2 or 5 times a power of
    ten. Returns `high` if no rounder number lies between.
    """
    largest = max(abs(low), abs(high))
    exponent = math.floor(math.log10(largest)) + 1 if largest else 0
    for power in range(exponent, 0 if integer else exponent - 17, -1):
        for mantissa in (5, 2, 1):
            found = _multiple(low, high, near, Decimal(mantissa).scaleb(power - 1))
            if found is not None:
                return found
    return high


def _multiple(low: float, high: float, near: float, step: Decimal) -> float | None:
    """Return the multiple of `step` in (low, high] that is nearest to `near`, if there is one."""
    first = math.floor(Decimal(low) / step) + 1
    last = math.floor(Decimal(high) / step)
    if first > last:
        return None
    number = min(max(round(Decimal(near) / step), first), last)
    found = float(number * step)
    return found if low < found <= high else None


def limits(values: Numbers, cuts: list[float], fewest: int) -> tuple[float, float]:
    """Return a round minimum and maximum: the first below all `cuts`, the second not below them.

    They enclose all `values`, except where these reach far beyond the `fewest` most extreme ones;
    so no outlier sets them. A small minimum that is not negative becomes 0, except of codes.
    """
    rank = min(fewest, len(values)) - 1
    ordered = np.partition(values, sorted({rank, len(values) - 1 - rank}))
    low, high = float(ordered[rank]), float(ordered[len(values) - 1 - rank])
    smallest, largest = float(values.min()), float(values.max())
    span = max(high - low, cuts[-1] - cuts[0], max(abs(low), abs(high)) * 1e-9)
    low = smallest if smallest >= low - span else low
    high = largest if largest <= high + span else high
    unit = _unit(span)
    minimum = _down(min(low, cuts[0]), unit)
    if smallest >= 0 and minimum <= unit != 1 and cuts[0] > 0:
        minimum = 0.0
    while minimum >= cuts[0]:
        minimum = float(Decimal(repr(minimum)) - unit)
    return minimum, max(-_down(-max(high, cuts[-1]), unit), cuts[-1])


def _unit(span: float) -> Decimal:
    """Return the power of ten that is at most `span`."""
    return Decimal(1).scaleb(math.floor(math.log10(span))) if span > 0 else Decimal(1)


def _down(value: float, unit: Decimal) -> float:
    return float(math.floor(Decimal(repr(value)) / unit) * unit)
