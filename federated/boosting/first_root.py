"""The root histogram of the first tree, which follows from the secure count.

At margin 0 every row has p = 1/2, so that its gradient is 1/2 or -1/2 and its hessian 1/4. If the
root were opened by a step of its own, and a lender had disappeared since the count, the coordinator
could subtract four times the hessians from the counts, and would have that lender's rows in every
state.
"""

from __future__ import annotations

import numpy as np

from federated.boosting.cells import Cells
from federated.boosting.counts import checked_counts
from federated.boosting.fixed_point import LARGEST_GRADIENT, LARGEST_HESSIAN, Vector
from federated.plan import Plan


def first_root(plan: Plan, cells: Cells, counts: Vector) -> Vector:
    """Return the sums of the first tree's root, as LocalRows.vector(0, 0) would add up to.

    Raises HistogramInvalid.
    """
    denied, approved = checked_counts(plan, counts)
    g = np.zeros(cells.count, np.int64)
    h = np.zeros(cells.count, np.int64)
    for position, column in enumerate(cells.columns):
        code = plan.layout.codes[column]
        own = slice(code.first_state, code.first_state + code.n_states)
        place = int(cells.first[position]) + cells.of_states[position].astype(np.intp)
        np.add.at(g, place, (denied[own] - approved[own]) * (LARGEST_GRADIENT // 2))
        np.add.at(h, place, (denied[own] + approved[own]) * LARGEST_HESSIAN)
    return np.concatenate([g, h]).view(np.uint64)
