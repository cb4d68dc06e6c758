"""The parts of a step's vector that get noise of one variance each, from the plan."""

from __future__ import annotations

from federated.boosting.cells import Cells
from federated.boosting.growing import Growing, has_scores
from federated.boosting.scores import LENGTH
from federated.plan import Plan
from federated.privacy.noise import Parts, count_parts, level_parts, score_parts


def parts_of_count(plan: Plan, lenders: int) -> Parts:
    """Return the parts of the count in a run of so many lenders; none without privacy."""
    if plan.privacy is None:
        return ()
    columns, states = len(plan.layout.codes), plan.layout.n_states
    return count_parts(plan.privacy, lenders, columns=columns, states=states)


def parts_of_step(plan: Plan, cells: Cells, growing: Growing, lenders: int) -> Parts:
    """Return the parts of the vector for the next level of `growing`; none without privacy."""
    if plan.privacy is None:
        return ()
    scores = LENGTH if has_scores(plan, growing.tree, growing.level) else 0
    if growing.tree == plan.trees:
        return score_parts(plan.privacy, lenders, scores=scores, depth=plan.depth)
    return level_parts(
        plan.privacy,
        lenders,
        columns=len(cells.columns),
        cells=cells.count,
        nodes=len(growing.sent),
        scores=scores,
        depth=plan.depth,
    )
