"""The AUC with its standard error, and cross-validation for data that is too small to split.

DeLong's estimate of the variance: DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988); computed by
ranks after Sun and Xu, IEEE Signal Processing Letters 21 (2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata
from sklearn.model_selection import StratifiedKFold
from tqdm import tqdm

from features.encoding import Layout
from training.models import Labels, Rows, Shape, fit_rows, log_odds

SMALL = 2000
"""Below this number of rows, shapes are chosen by cross-validation."""
FOLDS = 5
LEAST_REPEATS, MOST_REPEATS = 2, 5
SETTLED = 0.25
"""Repetition ends when the choice of the folds adds at most this share of the standard error."""
_QUANTILE = float(norm.ppf(0.975))


@dataclass(frozen=True)
class Auc:
    """An area under the ROC curve and its standard error."""

    value: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval, of the normal approximation."""
        half = _QUANTILE * self.error
        return max(0.0, self.value - half), min(1.0, self.value + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.4f} (95 % interval {low:.4f} to {high:.4f})"


@dataclass(frozen=True)
class CrossValidated:
    """The quality of a shape on rows that its boosters were not trained on.

    `margins` (rows,) are the out-of-fold log-odds, averaged over `repeats` partitions into folds.
    """

    auc: Auc
    margins: NDArray[np.float64]
    repeats: int


def auc_of(y: Labels, scores: NDArray[np.generic]) -> Auc:
    """Return the AUC of scores (rows,) for labels `y` (rows,), with DeLong's standard error.

    The error is 1 if one of the outcomes has fewer than 2 rows, which says nothing about it.
    """
    good, bad = scores[y == 1], scores[y == 0]
    ranks = rankdata(np.concatenate([good, bad]))
    above = (ranks[: len(good)] - rankdata(good)) / len(bad)
    below = 1 - (ranks[len(good) :] - rankdata(bad)) / len(good)
    if min(len(good), len(bad)) < 2:
        return Auc(float(above.mean()), 1.0)
    variance = above.var(ddof=1) / len(good) + below.var(ddof=1) / len(bad)
    return Auc(float(above.mean()), math.sqrt(variance))


def cross_validated(
    shapes: Sequence[Shape], layout: Layout, rows: Rows, seed: int
) -> list[CrossValidated]:
    """Cross-validate every shape on the same folds; returns one result for each.

    The partition into folds is drawn anew until its choice matters little (SETTLED), at least
    LEAST_REPEATS and at most MOST_REPEATS times. The AUC is the mean over folds and partitions,
    and its standard error that of one partition, since all partitions consist of the same rows.
    """
    folds = min(FOLDS, int(np.bincount(rows.y, minlength=2).min()) // 2)
    margins = np.zeros((len(shapes), 0, len(rows.y)))
    aucs: NDArray[np.float64] = np.zeros((len(shapes), 0, 2))  # by repeat: AUC, error
    progress = tqdm(total=MOST_REPEATS, desc="cross-validation", leave=False)
    for repeat in range(MOST_REPEATS):
        parts = list(
            StratifiedKFold(folds, shuffle=True, random_state=seed + repeat).split(
                rows.bits, rows.y
            )
        )
        own = [_one_partition(shape, layout, rows, parts) for shape in shapes]
        margins = np.concatenate([margins, np.array([[m] for m, _ in own])], axis=1)
        aucs = np.concatenate([aucs, np.array([[[a.value, a.error]] for _, a in own])], axis=1)
        progress.update()
        if repeat + 1 >= LEAST_REPEATS and _settled(aucs):
            break
    progress.close()
    return [
        CrossValidated(
            Auc(float(a[:, 0].mean()), float(np.sqrt((a[:, 1] ** 2).mean()))),
            m.mean(axis=0),
            len(a),
        )
        for m, a in zip(margins, aucs, strict=True)
    ]


def _one_partition(
    shape: Shape, layout: Layout, rows: Rows, parts: list[tuple[NDArray[np.int64], ...]]
) -> tuple[NDArray[np.float64], Auc]:
    """Return the out-of-fold margins (rows,) of one partition, and the mean AUC of its folds."""
    margins = np.zeros(len(rows.y))
    aucs = []
    for inside, outside in parts:
        booster = fit_rows(shape, layout, rows.part(inside))
        margins[outside] = log_odds(booster, rows.bits[outside])
        aucs.append(auc_of(rows.y[outside], margins[outside]))
    error = math.sqrt(sum(a.error**2 for a in aucs)) / len(aucs)
    return margins, Auc(float(np.mean([a.value for a in aucs])), error)


def _settled(aucs: NDArray[np.float64]) -> bool:
    """Return True if the means over repeats depend little on the choice of the folds.

    `aucs` (shapes, repeats, 2) has each AUC and its standard error.
    """
    by_folds = aucs[:, :, 0].std(axis=1, ddof=1) / math.sqrt(aucs.shape[1])
    return bool((by_folds <= SETTLED * aucs[:, :, 1].mean(axis=1)).all())
