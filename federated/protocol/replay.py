"""The trees and validation AUCs that follow from the results of a training."""

from __future__ import annotations

from collections.abc import Sequence

from federated.boosting.cells import cells_of
from federated.boosting.growing import Growing
from federated.boosting.trees import Tree
from federated.plan import Plan
from federated.protocol.messages import Counted, Ended, Grown, Result, Stopped


def finished_trees(plan: Plan, results: Sequence[Result]) -> tuple[list[Tree], list[float]]:
    """Return the finished trees, and the AUC of the first 1, 2, … trees as far as it is known.

    Raises SplitsInvalid and MessageOutOfOrder for results that do not follow from one another.
    """
    trees: list[Tree] = []
    aucs: list[float] = []
    if not results or not isinstance(results[0], Counted):
        return trees, aucs
    cells = cells_of(plan, results[0].usable)
    growing = Growing(0)
    for result in results[1:]:
        if isinstance(result, Grown):
            growing = growing.after(plan, cells, result.splits)
            if result.auc is not None:
                aucs.append(result.auc)
        if isinstance(result, Ended) or (isinstance(result, Grown) and growing.is_done(plan)):
            trees.append(growing.finished())
            growing = Growing(len(trees))
        if isinstance(result, Stopped) and result.last_auc is not None:
            aucs.append(result.last_auc)
    return trees, aucs


def kept_trees(plan: Plan, results: Sequence[Result]) -> tuple[Tree, ...]:
    """Return the trees of the model, or none if the training is not finished."""
    last = results[-1] if results else None
    if not isinstance(last, Stopped):
        return ()
    return tuple(finished_trees(plan, results)[0][: last.trees])
