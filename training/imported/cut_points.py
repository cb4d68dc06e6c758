"""The cut points of an ordinal column from the thresholds of a model.

A threshold becomes the smallest number that the model sends to the other side, so that decisions
are equal for all numbers in double precision. It may be rounded where that changes nothing:

- up to a whole number in a column of whole numbers;
- to a short decimal number among those that the model's precision does not tell from the threshold,
  if there is data and it has no number in between.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Context, Decimal

import numpy as np
from numpy.typing import NDArray

from features.schema import OrdinalColumn
from training.imported.ensemble import ZERO, NumericSplit, Values


@dataclass(frozen=True)
class CutPoints:
    """The cuts of one column; `place` maps each flip of a split within its domain to its cut."""

    cuts: tuple[float, ...]
    place: dict[float, int] = field(repr=False)
    merged: int = 0
    """Number of the model's cut points that were merged into others."""


def cut_points(
    column: OrdinalColumn, splits: Iterable[NumericSplit], data: Values | None, most: int | None
) -> CutPoints:
    """Return the cut points of a column for all splits on it.

    `data` are the column's values in the data, or None without data. At most `most` bins remain if
    it is given. A column that no split divides keeps one cut. Raises ImportRefused if there are
    more bins than a schema allows.
    """
    uses: Counter[float] = Counter()
    cut_of: dict[float, float] = {}
    known = None if data is None else np.unique(data[~np.isnan(data)])
    for split in splits:
        for flip in split.flips():
            cut = cut_of.get(flip)
            if cut is None:
                cut = _allowed_cut(column, split, flip, known)
            if column.minimum < cut <= column.maximum:
                cut_of[flip] = cut
                uses[cut] += 1
    cuts = sorted(uses)
    if not cuts:
        return CutPoints((_unused_cut(column),), {})
    kept = np.arange(len(cuts))
    if most is not None and len(cuts) >= most:
        kept = merge([uses[cut] for cut in cuts], _positions(cuts, known), most - 1)
    numbers = {cut: int(np.searchsorted(np.unique(kept), kept[i])) for i, cut in enumerate(cuts)}
    final = tuple(cuts[i] for i in np.unique(kept))
    places = {flip: numbers[cut] for flip, cut in cut_of.items()}
    return CutPoints(final, places, len(cuts) - len(final))


def _allowed_cut(
    column: OrdinalColumn, split: NumericSplit, flip: float, known: Values | None
) -> float:
    if column.integer:
        return float(math.ceil(flip))
    if known is None:
        return flip
    short = _shortest(flip, _last_equal(split, flip))
    between = np.searchsorted(known, flip, "left") != np.searchsorted(known, short, "left")
    return flip if between else short


def _last_equal(split: NumericSplit, flip: float) -> float:
    """Return the largest number that counts as `flip` in the model's precision."""
    if split.single:
        single = np.float32(flip)
        return (float(single) + float(np.nextafter(single, np.float32(np.inf)))) / 2
    return 0.0 if -2 * ZERO < flip < 0 else flip  # LightGBM writes 0 as -1e-35


def _shortest(low: float, high: float) -> float:
    """Return the number from `low` to `high` with the fewest decimal digits."""
    if low <= 0 <= high:
        return 0.0
    exact = Decimal(low)
    for digits in range(1, 17):
        short = float(Context(prec=digits, rounding=ROUND_CEILING).plus(exact))
        if low <= short <= high:
            return short
    return low


def _unused_cut(column: OrdinalColumn) -> float:
    """Return one cut for a column that the model does not use: the schema's middle one."""
    return column.cuts[len(column.cuts) // 2]


def _positions(cuts: list[float], known: Values | None) -> Values:
    """Return the position of each cut from 0 to 1: its rank in the data, or its number."""
    numbers = np.arange(len(cuts)) / len(cuts)
    if known is None or not len(known):
        return numbers
    ranks = np.searchsorted(known, cuts, "left") / len(known)
    return np.asarray(ranks + numbers * 1e-3)  # the number decides between equal ranks


def merge(uses: list[int], positions: Values, most: int) -> NDArray[np.int64]:
    """Merge cuts until `most` remain; return the number of the one that stands for each cut.

    Neighbouring groups are merged in the order of the use of the smaller one times their distance,
    as in agglomerative clustering; the most used cut of a group stands for it.
    """
    groups = [[i] for i in range(len(uses))]
    heads = list(range(len(uses)))
    weights = [float(use) for use in uses]
    while len(groups) > most:
        costs = [
            min(weights[i], weights[i + 1])
            * max(float(positions[heads[i + 1]] - positions[heads[i]]), 1e-12)
            for i in range(len(groups) - 1)
        ]
        i = int(np.argmin(costs))
        heads[i] = heads[i] if uses[heads[i]] >= uses[heads[i + 1]] else heads[i + 1]
        groups[i] += groups.pop(i + 1)
        weights[i] += weights.pop(i + 1)
        heads.pop(i + 1)
    kept = np.zeros(len(uses), np.int64)
    for head, group in zip(heads, groups, strict=True):
        kept[group] = head
    return kept
