"""The relation of a drafted column to the outcomes: separation, direction and monotonicity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from training.draft.columns import Drafted
from training.draft.kinds import Category, Number

LEAK = 0.99
"""A single column with a higher AUC knows the outcome."""
_MONOTONE = 0.8
_FEWEST_BINS = 3


@dataclass(frozen=True)
class Relation:
    """The AUC of one column alone, and of an ordinal one its direction.

    `separation` is the AUC with each state ordered by its share of approvals, at least 0.5. `auc`
    is that of a rising value, 0.5 for other kinds. `trend` is Spearman's correlation of bins with
    their shares of approvals, 0 with fewer than three bins.
    """

    separation: float
    auc: float = 0.5
    trend: float = 0.0

    @property
    def direction(self) -> str:
        """`more` if higher values are approved more often, otherwise `less`."""
        return "more" if self.auc >= 0.5 else "less"

    @property
    def monotone(self) -> bool:
        return abs(self.trend) >= _MONOTONE and self.trend * (self.auc - 0.5) > 0


def auc(values: NDArray[np.float64], approved: NDArray[np.bool_]) -> float:
    """Return the AUC of the values, 0.5 without both outcomes; the Mann-Whitney statistic."""
    good = int(approved.sum())
    bad = len(approved) - good
    if not good or not bad:
        return 0.5
    ranks = float(rankdata(values)[approved].sum())
    return (ranks - good * (good + 1) / 2) / (good * bad)


def relation(drafted: Drafted, approved: NDArray[np.bool_], fewest: int) -> Relation:
    """Return the relation of a column to `approved` (rows,)."""
    reading = drafted.reading
    if isinstance(reading, Number):
        return _of_number(reading, drafted.document["cuts"], approved)
    positions = reading.positions.astype(np.int64) + 1  # 0 is missing
    if isinstance(reading, Category):
        counts = np.bincount(positions)
        rare = counts[positions] < fewest
        positions = np.where(rare & (positions > 0), len(counts), positions)
    return Relation(_by_rate(positions, approved))


def _of_number(number: Number, cuts: list[float], approved: NDArray[np.bool_]) -> Relation:
    given = ~number.missing
    values, own = number.values[given], approved[given]
    bins = np.searchsorted(cuts, values, side="right")
    states = np.zeros(len(approved), np.int64)
    states[given] = bins + 1
    rising = auc(values, own)
    rates = _rates(bins, own, len(cuts) + 1)
    trend = 0.0
    if len(rates) >= _FEWEST_BINS and np.ptp(rates) > 0:
        trend = float(spearmanr(np.arange(len(rates)), rates).statistic)
    raw = max(rising, 1 - rising) if given.mean() > 0.5 else 0.5
    return Relation(max(_by_rate(states, approved), raw), rising, trend)


def _rates(
    states: NDArray[np.int64], approved: NDArray[np.bool_], count: int
) -> NDArray[np.float64]:
    totals = np.bincount(states, minlength=count)
    return np.bincount(states, approved, minlength=count) / np.maximum(totals, 1)


def _by_rate(states: NDArray[np.int64], approved: NDArray[np.bool_]) -> float:
    return auc(_rates(states, approved, int(states.max()) + 1)[states], approved)
