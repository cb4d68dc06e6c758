"""The record of a training: the lenders that each tree was grown on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from federated.boosting import pooled
from federated.boosting.usable_bits import UsableBits
from federated.plan import Plan
from federated.protocol.messages import Counted, Ended, Grown, Result, Stopped
from utils.errors import TrainingUnfinished


class TreeRecord(BaseModel):
    """One tree: its lenders, and the number of levels that were opened before it ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lenders: tuple[str, ...]
    levels: int
    ended_early: bool = False
    auc: float | None = None


class Record(BaseModel):
    """All that is needed to train the same trees from pooled rows, except the rows.

    `auc` of a tree is that of the validation rows under the trees up to it; those of the last tree
    are of the lenders `scored`. `kept` is the number of trees in the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    training_id: str
    plan: Plan
    usable: UsableBits
    trees: tuple[TreeRecord, ...]
    kept: int
    auc: float | None
    scored: tuple[str, ...] = ()

    def grown(self) -> list[pooled.Grown]:
        """Return the record in the form that `pooled` takes."""
        return [pooled.Grown(tree.lenders, tree.levels) for tree in self.trees]


def tree_records(results: Iterable[Result]) -> tuple[TreeRecord, ...]:
    """Return one record a tree, in order; a tree's AUC comes with the root of the next."""
    trees: dict[int, TreeRecord] = {}
    for result in results:
        if isinstance(result, Grown):
            number = result.splits.tree
            if number not in trees:
                trees[number] = TreeRecord(lenders=result.lenders, levels=0)
            _change(trees, number, levels=result.splits.level + 1)
            if result.auc is not None:
                _change(trees, number - 1, auc=result.auc)
        elif isinstance(result, Ended):
            _change(trees, result.tree, ended_early=True)
        elif isinstance(result, Stopped):
            _change(trees, len(trees) - 1, auc=result.last_auc)
    return tuple(trees[number] for number in sorted(trees))


def record_of(plan: Plan, training_id: str, results: Sequence[Result]) -> Record:
    """Return the record of a finished training; raises TrainingUnfinished."""
    usable = next((one.usable for one in results if isinstance(one, Counted)), None)
    last = results[-1] if results else None
    if usable is None or not isinstance(last, Stopped):
        raise TrainingUnfinished("The training has no model yet; wait until it is finished.")
    return Record(
        training_id=training_id,
        plan=plan,
        usable=usable,
        trees=tree_records(results),
        kept=last.trees,
        auc=last.auc,
        scored=last.scored,
    )


def _change(trees: dict[int, TreeRecord], number: int, **changes: object) -> None:
    if number in trees:
        trees[number] = trees[number].model_copy(update=changes)
