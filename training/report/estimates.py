"""Estimates with 95 % intervals: shares, means, and the area under the ROC curve."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, rankdata

LEVEL = 0.95
QUANTILE = 1.959963984540054
"""The normal distribution's quantile for `LEVEL`."""


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


def auc(y: ArrayLike, scores: ArrayLike) -> Estimate | None:
    """Return the AUC of `scores` (rows,) for outcomes `y` (rows,), where 1 should score higher.

    The interval is that of E. DeLong, D. DeLong and D. Clarke-Pearson (Biometrics 44, 1988), by
    the ranks of X. Sun and W. Xu (IEEE Signal Processing Letters 21, 2014). Where the sample shows
    no variance, as with an AUC of 1, it is Wilson's interval for as many rows as the smaller class
    has. Returns None unless both outcomes occur.
    """
    outcome, score = np.asarray(y) == 1, np.asarray(scores, np.float64)
    good, bad = score[outcome], score[~outcome]
    m, n = len(good), len(bad)
    if not m or not n:
        return None
    ranks = rankdata(np.concatenate([good, bad]))
    above_bad = (ranks[:m] - rankdata(good)) / n
    below_good = 1 - (ranks[m:] - rankdata(bad)) / m
    value = float(above_bad.mean())
    variance = 0.0
    if m > 1 and n > 1:
        variance = float(above_bad.var(ddof=1) / m + below_good.var(ddof=1) / n)
    if variance <= 0:
        return _wilson(value, min(m, n))
    error = QUANTILE * math.sqrt(variance)
    return Estimate(value, max(0.0, value - error), min(1.0, value + error))


def _wilson(value: float, rows: int) -> Estimate:
    square = QUANTILE**2
    centre = (value + square / (2 * rows)) / (1 + square / rows)
    spread = math.sqrt(value * (1 - value) / rows + square / (4 * rows**2))
    half = QUANTILE * spread / (1 + square / rows)
    return Estimate(value, max(0.0, centre - half), min(1.0, centre + half))


def gini(auc_estimate: Estimate) -> Estimate:
    """Return the Gini coefficient, 2 AUC - 1."""
    return Estimate(*(2 * end - 1 for end in (auc_estimate.value, *_ends(auc_estimate))))


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


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
