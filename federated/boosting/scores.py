"""The validation AUC, from a histogram of margins for each class.

A lender sends counts alone: 128 bins of the margin, clipped to [-8, 8), for denied and for approved
validation rows. Rows of one bin count as ties.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from federated.boosting.fixed_point import LEAF_BITS, MAXIMUM_ROWS, Integers, Vector
from federated.plan import Plan
from utils.errors import HistogramInvalid

BINS = 128
LENGTH = 2 * BINS
_EDGE = 8 << LEAF_BITS
_BIN_BITS = LEAF_BITS - 3  # 16 / 128 = 1/8 a bin


def score_histogram(margins: Integers, outcomes: NDArray[np.int8]) -> Vector:
    """Return the counts of rows: the bins of outcome 0, then those of outcome 1, shape (256,)."""
    bins = (np.clip(margins, -_EDGE, _EDGE - 1) + _EDGE) >> _BIN_BITS
    counts = np.bincount(bins + BINS * outcomes.astype(np.int64), minlength=LENGTH)
    return counts.astype(np.uint64)


def auc(plan: Plan, sums: Vector) -> float:
    """Return the AUC in opened sums of score histograms; 0.5 if there is one class only.

    Under noise, counts may be negative. They are used as they are, since the noise of numbers cut
    off at 0 would not cancel in sums: it would draw the AUC to 0.5. Raises HistogramInvalid for
    impossible counts.
    """
    counts = sums.view(np.int64)
    if plan.privacy is not None:
        counts = np.clip(counts, -MAXIMUM_ROWS, MAXIMUM_ROWS)
    elif bool(((counts < 0) | (counts > MAXIMUM_ROWS)).any()):
        raise HistogramInvalid(
            "The sums of the validation scores are inconsistent: a count is negative or larger "
            f"than {MAXIMUM_ROWS}. At least one lender sent counts that do not come from its rows. "
            "The masks hide which one: start the training again with the lenders that you trust."
        )
    denied, approved = counts[:BINS].tolist(), counts[BINS:].tolist()
    below = twice = 0
    for own, other in zip(denied, approved, strict=True):
        twice += other * (2 * below + own)
        below += own
    above = sum(approved)
    if below <= 0 or above <= 0:
        return 0.5
    share = float(twice / (2 * below * above))
    return min(max(share, 0.0), 1.0)


def best_trees(aucs: Sequence[float]) -> int:
    """Return the smallest number of trees with the highest AUC; `aucs[i]` is that of i + 1."""
    return max(range(len(aucs)), key=lambda i: (aucs[i], -i)) + 1


def should_stop(aucs: Sequence[float], patience: int | None) -> bool:
    """Return whether the AUC has not risen for `patience` trees; None never stops."""
    return patience is not None and bool(aucs) and len(aucs) - best_trees(aucs) >= patience
