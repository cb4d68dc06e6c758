"""The population stability index (PSI): how far the rows of now lie from those of training.

PSI = Σ (actual - expected) ln(actual / expected) over the bins' shares. The thresholds 0.10 and
0.25 are the industry's rule of thumb (N. Siddiqi, Credit Risk Scorecards, 2006), not a test. Small
samples exceed them by chance: `chance` is the value that 95 % of samples of one distribution stay
below, from PSI / (1/n + 1/m) ~ χ² with (bins - 1) degrees of freedom (B. Yurdakul and J. Naranjo,
Journal of Risk Model Validation 14, 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from features.encoding import Bits, Layout

SMALL, LARGE = 0.10, 0.25
SCORE_BINS = 10
_EMPTY = 0.5
"""Rows that an empty bin counts as, since the logarithm of 0 is not finite."""

Counts = NDArray[np.int64]


def psi(expected: Counts, actual: Counts) -> float:
    """Return the index of two histograms, shape (bins,) each, of at least one row."""
    used = (expected > 0) | (actual > 0)
    before = np.where(expected == 0, _EMPTY, expected)[used] / expected.sum()
    now = np.where(actual == 0, _EMPTY, actual)[used] / actual.sum()
    return float(((now - before) * np.log(now / before)).sum())


def chance(expected: Counts, actual: Counts) -> float:
    """Return the value that 95 % of samples of equal distributions stay below."""
    bins = int(((expected > 0) | (actual > 0)).sum())
    scale = 1 / int(expected.sum()) + 1 / int(actual.sum())
    return float(chi2.ppf(0.95, bins - 1) * scale) if bins > 1 else 0.0


def verdict(value: float) -> str:
    """Return the industry's word for an index."""
    if value < SMALL:
        return "stable"
    return "some shift" if value < LARGE else "large shift"


def stability(
    layout: Layout,
    training: Bits,
    test: Bits,
    training_scores: NDArray[np.int64],
    test_scores: NDArray[np.int64],
) -> list[dict[str, Any]]:
    """Return the index of the score and of every column between two samples of rows.

    The score's bins are the deciles of the training rows, those of a column its states.
    """
    cuts = np.unique(np.quantile(training_scores, np.arange(1, SCORE_BINS) / SCORE_BINS))
    lines = [_line("score", *(_counts_of_scores(s, cuts) for s in (training_scores, test_scores)))]
    before, now = layout.states(training), layout.states(test)
    for i, code in enumerate(layout.codes):
        both = [
            np.bincount(states[:, i] - code.first_state, minlength=code.n_states)
            for states in (before, now)
        ]
        lines.append(_line(code.column.name, *both))
    return lines


def _counts_of_scores(scores: NDArray[np.int64], cuts: NDArray[np.float64]) -> Counts:
    return np.bincount(np.searchsorted(cuts, scores, side="right"), minlength=len(cuts) + 1)


def _line(name: str, expected: Counts, actual: Counts) -> dict[str, Any]:
    value = psi(expected, actual)
    return {
        "name": name,
        "psi": value,
        "chance": chance(expected, actual),
        "bins": int(((expected > 0) | (actual > 0)).sum()),
        "verdict": verdict(value),
    }
