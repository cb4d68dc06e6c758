"""Estimates with 95 % intervals: shares, means, and the area under the ROC curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from training.validation import auc_of

LEVEL = 0.95
QUANTILE = float(norm.ppf((1 + LEVEL) / 2))


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 4) -> str:
        """Return the three numbers: for example, `0.7432 (0.7010-0.7854)`."""
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"

    def percent(self) -> str:
        """Return the three numbers as percentages: for example, `71.0% (64.2% to 77.0%)`."""
        return f"{self.value:.1%} ({self.low:.1%} to {self.high:.1%})"


def share(count: int, rows: int) -> Estimate | None:
    """Return `count` of `rows` with the interval of Wilson (1927); None without rows."""
    if rows == 0:
        return None
    found = binomtest(count, rows).proportion_ci(LEVEL, method="wilson")
    return Estimate(count / rows, float(found.low), float(found.high))


def mean(values: NDArray[np.float64]) -> Estimate:
    """Return the mean of at least one value, with the interval of the normal distribution."""
    centre = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(centre, centre - QUANTILE * error, centre + QUANTILE * error)


def auc(y: NDArray[np.int8], scores: NDArray[np.generic]) -> Estimate | None:
    """Return the AUC of `scores` (rows,) for outcomes `y` (rows,), where 1 should score higher.

    The interval is DeLong's (training/validation.py). Where the sample shows no variance, as with
    an AUC of 1, it is Wilson's interval for as many rows as the smaller class has. Returns None
    unless both outcomes occur.
    """
    smaller = int(np.bincount(y, minlength=2).min())
    if not smaller:
        return None
    found = auc_of(y, scores)
    if found.error > 0 and smaller > 1:
        return Estimate(found.value, *found.interval)
    return _wilson(found.value, smaller)


def _wilson(value: float, rows: int) -> Estimate:
    square = QUANTILE**2
    centre = (value + square / (2 * rows)) / (1 + square / rows)
    spread = math.sqrt(value * (1 - value) / rows + square / (4 * rows**2))
    half = QUANTILE * spread / (1 + square / rows)
    return Estimate(value, max(0.0, centre - half), min(1.0, centre + half))


def gini(area: Estimate) -> Estimate:
    """Return the Gini coefficient, 2 AUC - 1."""
    return Estimate(2 * area.value - 1, 2 * area.low - 1, 2 * area.high - 1)


def percentile_interval(value: float, resampled: NDArray[np.float64]) -> Estimate | None:
    """Return `value` with the percentile interval of its bootstrap resamples.

    None if `value`, or more than a tenth of the resamples, is not a number: an interval of the
    others would be too narrow.
    """
    finite = resampled[np.isfinite(resampled)]
    if not math.isfinite(value) or len(finite) < 0.9 * len(resampled):
        return None
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
