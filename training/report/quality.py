"""Separation by scores and calibration of probabilities, on labelled rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import ks_2samp

from training.calibration import Calibration, Platt
from training.report.estimates import Estimate, auc, gini, mean, percentile_interval, share
from training.report.resampling import RESAMPLES, SEED, Floats, resampled

BINS = 10
_ROWS_PER_BIN = 30

Outcomes = NDArray[np.int8]


def separation(y: Outcomes, scores: Floats) -> dict[str, Estimate | None]:
    """Return AUC, Gini and KS of scores (rows,); None unless both outcomes occur."""
    area = auc(y, scores)
    return {
        "auc": area,
        "gini": None if area is None else gini(area),
        "ks": None if area is None else ks(y, scores),
    }


def ks(y: Outcomes, scores: Floats, resamples: int = RESAMPLES) -> Estimate | None:
    """Return the largest distance of the two outcomes' distributions of the score.

    The statistic of Kolmogorov and Smirnov; the interval is a bootstrap within each outcome.
    """
    good, bad = scores[y == 1], scores[y == 0]
    value = float(ks_2samp(good, bad).statistic)
    distinct = np.unique(scores)
    paths = []
    for i, own in enumerate((good, bad)):
        counts = np.bincount(np.searchsorted(distinct, own), minlength=len(distinct))
        paths.append((counts, SEED + i))
    size = max(1, 2_000_000 // len(distinct))
    found = []
    for first in range(0, resamples, size):
        part = min(size, resamples - first)
        good_path, bad_path = (
            resampled(counts, _distribution, part, seed + first) for counts, seed in paths
        )
        found.append(np.abs(good_path - bad_path).max(axis=1))
    return percentile_interval(value, np.concatenate(found))


def _distribution(drawn: Floats) -> Floats:
    return np.cumsum(drawn, axis=1) / drawn.sum(axis=1, keepdims=True)


def brier(y: Outcomes, probabilities: Floats) -> Estimate:
    """Return the mean squared error of probabilities of approval (rows,) (G. Brier, 1950)."""
    return mean((probabilities - y) ** 2)


def default_probabilities(margins: Floats, calibration: Calibration | None) -> tuple[Floats, str]:
    """Return probabilities of default (rows,) and their source in words.

    Without a calibration, they are the logistic function of the margins.
    """
    if calibration is None:
        return expit(-margins), "the logistic function of the margin (not calibrated)"
    kind = "Platt" if isinstance(calibration, Platt) else "isotonic"
    return 1 - calibration.good(margins), f"calibrated by training ({kind})"


def calibration_bins(y: Outcomes, defaults: Floats) -> list[dict[str, Any]]:
    """Return, for at most ten quantiles of the probability of default, predicted and observed.

    Each bin has about 30 rows or more, so that small data has fewer bins.
    """
    bins = int(np.clip(len(y) // _ROWS_PER_BIN, 1, BINS))
    cuts = np.unique(np.quantile(defaults, np.arange(1, bins) / bins))
    inside = np.searchsorted(cuts, defaults, side="right")
    lines = []
    for i in range(len(cuts) + 1):
        own = inside == i
        observed = share(int((y[own] == 0).sum()), int(own.sum()))
        if observed is not None:
            lines.append(
                {
                    "rows": int(own.sum()),
                    "predicted": float(defaults[own].mean()),
                    "observed": observed.value,
                    "low": observed.low,
                    "high": observed.high,
                }
            )
    return lines
