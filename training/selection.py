"""Choosing the shape of the model: by a validation part, or for little data by cross-validation.

With a validation part, the cheapest shape with an AUC within TOLERANCE of the float reference is
taken. In cross-validation it is the cheapest one within one standard error of the best, since
smaller differences are chance (Breiman, Friedman, Olshen, Stone, Classification and Regression
Trees, 1984, section 3.4.3), and it is trained again on all rows but those of the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from features.encoding import Layout
from training.frontier import Candidate, Entry, candidate, choose
from training.models import REFERENCE, Rows, Shape, fit_rows, log_odds
from training.validation import Auc, auc_of, cross_validated

TOLERANCE = 0.002


@dataclass(frozen=True)
class Selection:
    """The chosen shape, trained on `trained_on`, and the frontier.

    `margins` (rows,) are log-odds of the rows `unseen`, of boosters that were not trained on them.
    `method` describes the choice in a sentence.
    """

    chosen: Candidate
    entries: list[Entry]
    reference_auc: float
    reference: NDArray[np.float64]
    trained_on: Rows
    unseen: Rows
    method: str


def by_validation(
    shapes: Sequence[Shape],
    layout: Layout,
    train: Rows,
    validation: Rows,
    test: Rows,
    engines: Sequence[str],
    timing: bool,
) -> Selection:
    """Train on `train` and choose on `validation`; raises ModelError."""
    reference = fit_rows(REFERENCE, layout, train)
    best = auc_of(validation.y, log_odds(reference, validation.bits))
    candidates = [
        candidate(shape, layout, train, validation, engines, timing)
        for shape in tqdm(shapes, desc="shapes", unit="shape", leave=False)
    ]
    method = (
        f"Shapes compared on {len(validation.y):,} validation rows; the cheapest one with an AUC "
        f"within {TOLERANCE} of the float reference, {best}, is taken."
    )
    margins = log_odds(reference, test.bits)
    return _selection(candidates, best, TOLERANCE, margins, train, validation, method)


def by_cross_validation(
    shapes: Sequence[Shape],
    layout: Layout,
    rows: Rows,
    test: Rows,
    engines: Sequence[str],
    timing: bool,
    seed: int,
) -> Selection:
    """Choose by cross-validation of `rows` and train on all of them; raises ModelError."""
    reference_folds, *folds = cross_validated([REFERENCE, *shapes], layout, rows, seed)
    candidates = [
        candidate(shape, layout, rows, rows, engines, timing, own)
        for shape, own in zip(shapes, folds, strict=True)
    ]
    best = max((own.auc for own in folds), key=lambda auc: auc.value)
    tolerance = max(TOLERANCE, best.error)
    method = (
        f"Shapes compared by cross-validation on {len(rows.y):,} rows, repeated {folds[0].repeats} "
        f"times (AUC of the float reference {reference_folds.auc}); the cheapest one with an AUC "
        f"within {tolerance:.4f}, one standard error, of the best is taken and trained on all of "
        "these rows."
    )
    margins = log_odds(fit_rows(REFERENCE, layout, rows), test.bits)
    chosen = _selection(candidates, best, tolerance, margins, rows, rows, method)
    return replace(chosen, reference_auc=reference_folds.auc.value)


def _selection(
    candidates: list[Candidate],
    best: Auc,
    tolerance: float,
    reference: NDArray[np.float64],
    trained_on: Rows,
    unseen: Rows,
    method: str,
) -> Selection:
    entries = [each.entry for each in candidates]
    index = choose(entries, best.value, tolerance)
    entries[index] = replace(entries[index], chosen=True)
    return Selection(candidates[index], entries, best.value, reference, trained_on, unseen, method)
