"""The record of a training: the lenders that each tree was grown on."""

from __future__ import annotations

from collections.abc import Sequence
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


class TreeRecords:
    """The records of the trees of one training, whose results are only ever added to."""

    def __init__(self) -> None:
        self._trees: dict[int, TreeRecord] = {}
        self._taken = 0

    def of(self, results: Sequence[Result]) -> tuple[TreeRecord, ...]:
        """Return one record a tree, in order; a tree's AUC comes with the root of the next.

        `results` are those of the call before, and new ones after them, which alone are read.
        """
        for result in results[self._taken :]:
            self._take(result)
        self._taken = len(results)
        return tuple(self._trees.values())

    def _take(self, result: Result) -> None:
        if isinstance(result, Grown):
            number = result.splits.tree
            if number not in self._trees:
                self._trees[number] = TreeRecord(lenders=result.lenders, levels=0)
            self._change(number, levels=result.splits.level + 1)
            if result.auc is not None:
                self._change(number - 1, auc=result.auc)
        elif isinstance(result, Ended):
            self._change(result.tree, ended_early=True)
        elif isinstance(result, Stopped):
            self._change(len(self._trees) - 1, auc=result.last_auc)

    def _change(self, number: int, **changes: object) -> None:
        if number in self._trees:
            self._trees[number] = self._trees[number].model_copy(update=changes)


def tree_records(results: Sequence[Result]) -> tuple[TreeRecord, ...]:
    """Return one record a tree, in order, as TreeRecords does."""
    return TreeRecords().of(results)


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
