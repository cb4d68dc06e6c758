"""The secure count before the first tree.

A vector of counts has, for every state of every column, the denied training rows, then for every
state the approved ones, then the denied and the approved validation rows.
"""

from __future__ import annotations

import numpy as np

from federated.boosting.fixed_point import MAXIMUM_ROWS, Integers, Vector
from federated.plan import Plan
from utils.errors import HistogramInvalid

VALIDATION_COUNTS = 2


def counts_length(plan: Plan) -> int:
    """Return the length of a vector of counts."""
    return 2 * plan.layout.n_states + VALIDATION_COUNTS


def checked_counts(plan: Plan, counts: Vector) -> Integers:
    """Return the summed counts of denied and approved rows, shape (2, states).

    Raises HistogramInvalid if the counts are inconsistent, which is not checked under noise.
    """
    if counts.dtype != np.uint64 or counts.shape != (counts_length(plan),):
        raise HistogramInvalid(
            f"The sums of the first count do not have {counts_length(plan)} numbers; every lender "
            "must run the same version of Triseal with the same plan."
        )
    numbers = counts.view(np.int64)
    rows = numbers[:-VALIDATION_COUNTS].reshape(2, plan.layout.n_states)
    if plan.privacy is not None:
        return rows
    totals = {
        tuple(int(n) for n in rows[:, code.first_state : code.first_state + code.n_states].sum(1))
        for code in plan.layout.codes
    }
    inside = bool(((numbers >= 0) & (numbers <= MAXIMUM_ROWS)).all())
    if not inside or len(totals) > 1 or sum(next(iter(totals))) > MAXIMUM_ROWS:
        raise HistogramInvalid(
            "The sums of the first count are inconsistent: the states of every column must add up "
            f"to the same number of rows, at most {MAXIMUM_ROWS}. At least one lender sent counts "
            "that do not come from its rows. The masks hide which one: start the training again "
            "with the lenders that you trust."
        )
    return rows
