"""The tree that is being grown, as lenders and coordinator both know it from announced splits."""

from __future__ import annotations

from dataclasses import dataclass

from federated.boosting.cells import Cells
from federated.boosting.scores import LENGTH
from federated.boosting.trees import Split, Splits, Tree, fault_of
from federated.plan import Plan
from utils.errors import MessageOutOfOrder, SplitsInvalid


@dataclass(frozen=True)
class Growing:
    """A tree of which `level` levels are known; `candidates` may be split on the next one."""

    tree: int
    level: int = 0
    root: int = 0
    splits: tuple[Split, ...] = ()
    candidates: tuple[int, ...] = (0,)

    @property
    def sent(self) -> tuple[int, ...]:
        """The nodes whose histograms lenders send: the root, later left children only.

        A right child's histogram is its parent's without that of the left child.
        """
        return self.candidates if self.level == 0 else self.candidates[::2]

    def is_done(self, plan: Plan) -> bool:
        """Return whether no further level is opened."""
        return self.level == plan.depth or not self.candidates

    def expect(self, tree: int, level: int) -> None:
        """Raise MessageOutOfOrder unless level `level` of tree `tree` comes next."""
        if (tree, level) != (self.tree, self.level):
            raise MessageOutOfOrder(
                f"Tree {tree}, level {level} is not due: tree {self.tree}, level {self.level} is "
                "next. Fetch the finished trees from the coordinator and join at the next tree."
            )

    def after(self, plan: Plan, cells: Cells, announced: Splits) -> Growing:
        """Return the tree with one more level.

        Raises MessageOutOfOrder for another level and SplitsInvalid for splits that do not fit:
        a node that was not open, a bit that is not usable or repeated, leaves in the wrong order.
        """
        self.expect(announced.tree, announced.level)
        splits = (*self.splits, *announced.splits)
        fault = self._fault(plan, announced) or check_splits(plan, cells, splits)
        if fault:
            raise SplitsInvalid(
                f"The splits announced for tree {self.tree}, level {self.level} do not fit: "
                f"{fault}. Leave this training and ask the coordinator's operator for the reason."
            )
        candidates = tuple(2 * s.node + side for s in announced.splits for side in (1, 2))
        return Growing(self.tree, self.level + 1, announced.root, splits, candidates)

    def finished(self) -> Tree:
        """Return the tree with the levels that are known; raises MessageOutOfOrder if none is."""
        if self.level == 0:
            raise MessageOutOfOrder(
                f"Tree {self.tree} cannot end before its first level; wait for the coordinator."
            )
        return Tree(root=self.root, splits=self.splits)

    def _fault(self, plan: Plan, announced: Splits) -> str:
        if self.tree >= plan.trees:
            return f"the plan has {plan.trees} trees"
        if self.level > 0 and announced.root != self.root:
            return "the root has another value than before"
        for split in announced.splits:
            if split.node not in self.candidates:
                return f"node {split.node} is not open on this level"
        return ""


def check_splits(plan: Plan, cells: Cells, splits: tuple[Split, ...]) -> str:
    """Return the reason for which splits are not allowed in a tree of this plan, or nothing."""
    for split in splits:
        if split.bit not in cells.bits:
            return f"bit {split.bit} is not usable"
        if split.bit in plan.monotone and split.left > split.right:
            return f"node {split.node} lowers the score by a bit that may only raise it"
    return fault_of(splits)


def check_tree(plan: Plan, cells: Cells, tree: Tree) -> None:
    """Raise SplitsInvalid unless a finished tree could have been grown by this plan."""
    fault = check_splits(plan, cells, tree.splits)
    if not fault and tree.depth > plan.depth:
        fault = f"it is deeper than {plan.depth}"
    if fault:
        raise SplitsInvalid(
            f"A tree from the coordinator does not fit the plan: {fault}. Leave this training and "
            "ask the coordinator's operator for the reason."
        )


def has_scores(plan: Plan, tree: int, level: int) -> bool:
    """Return whether a step's vector ends with a score histogram."""
    return plan.validation_share > 0 and level == 0 and tree > 0


def vector_length(plan: Plan, cells: Cells, growing: Growing) -> int:
    """Return the length of the next step's vector, which is public.

    After the last tree, it is a score histogram alone, or empty without validation rows.
    """
    scores = LENGTH if has_scores(plan, growing.tree, growing.level) else 0
    nodes = 0 if growing.tree == plan.trees else len(growing.sent)
    return 2 * nodes * cells.count + scores
