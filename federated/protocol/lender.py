"""A lender's side of a training: a state machine without network, clock or files.

The caller delivers the coordinator's messages to `take`, saves `progress`, and then sends the
returned messages. After a restart, a lender made from the saved progress and the same rows goes on,
and repeats what it has sent with equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from federated.aggregation.group import Group
from federated.aggregation.lender_side import LenderMasks
from federated.aggregation.lock_state import FIRST_TREE, LockState
from federated.boosting.rows import LocalRows
from federated.boosting.trees import Tree
from federated.plan import Plan
from federated.protocol.messages import (
    AllUploaded,
    Ask,
    Back,
    Cancelled,
    Counted,
    Ended,
    Finished,
    FromCoordinator,
    FromLender,
    Grown,
    Recover,
    Recovered,
    Result,
    Revealed,
    Stopped,
    Uploaded,
)
from federated.protocol.transcript import extended
from utils.errors import PartiesDisagree, RosterRefused, StepRefused

LenderPhase = Literal["waiting", "working", "finished", "cancelled"]


class LenderProgress(BaseModel):
    """All that a lender needs to go on after a restart, besides its rows and keys."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    phase: LenderPhase = "waiting"
    results: list[Result] = []
    transcript: Annotated[bytes, Field(repr=False)]
    locks: LockState = Field(repr=False)
    reason: str = ""


class Lender:
    """The state machine of the lender called `me`; `rows` are its own and stay here.

    `sign` returns its Ed25519 signature. Raises StoredDataDamaged's kin if `progress` does not fit.
    """

    def __init__(
        self,
        plan: Plan,
        group: Group,
        me: str,
        sign: Callable[[bytes], bytes],
        rows: LocalRows,
        progress: LenderProgress,
    ) -> None:
        self.plan, self.me, self.progress = plan, me, progress
        self._group, self._rows = group, rows
        self._masks = LenderMasks(group, me, sign, progress.locks)
        self._counted = False
        self._told: int | None = None
        self._stopped: Stopped | None = None
        for result in progress.results:
            self._apply(result)

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The finished trees; after the end, those that are kept."""
        trees = self._rows.trees
        return trees if self._stopped is None else trees[: self._stopped.trees]

    def back(self) -> Back:
        """Return the message with which a lender announces itself after an absence."""
        return Back(results=len(self.progress.results))

    def take(self, message: FromCoordinator) -> list[FromLender]:
        """Take a message of the coordinator; returns the messages to send to it.

        Raises PartiesDisagree if results contradict those before, SplitsInvalid for results that do
        not fit the plan, and SignatureInvalid and RevealInvalid if another lender has not agreed.
        """
        found = self._taken(message)
        self.progress.locks = self._masks.state
        return found

    def _taken(self, message: FromCoordinator) -> list[FromLender]:
        progress = self.progress
        if progress.phase in ("finished", "cancelled"):
            return []
        if isinstance(message, Cancelled):
            progress.phase, progress.reason = "cancelled", message.reason
            return []
        if isinstance(message, Ask):
            return self._asked(message)
        if isinstance(message, Finished):
            if not self._caught_up(message.first, message.results):
                return [self.back()]
            if self._stopped is None:
                raise PartiesDisagree("The coordinator ended the training without its last result.")
            progress.phase = "finished"
            return []
        try:
            if isinstance(message, AllUploaded):
                seed = self._masks.reveal(message.step, message.signatures)
                return [Revealed(step=message.step, seed=seed)]
            if isinstance(message, Recover):
                shares = {
                    of: self._masks.reveal_share(message.step, of, sealed)
                    for of, sealed in message.shares.items()
                }
                return [Recovered(step=message.step, shares=shares)]
        except StepRefused:  # of a step that this lender is past, or was not part of
            return [self.back()]
        return []

    def _asked(self, message: Ask) -> list[FromLender]:
        if not self._caught_up(message.first, message.results):
            return [self.back()]
        self.progress.phase = "working"
        step = message.step
        if self.me not in message.roster:
            return self._announced(step.tree)
        expected = self._expected()
        if (step.tree, step.level) != expected:
            raise PartiesDisagree(
                f"The coordinator asks for tree {step.tree}, level {step.level}, although its "
                f"results lead to tree {expected[0]}, level {expected[1]}. This lender takes no "
                "further part; ask the coordinator's operator for the reason."
            )
        self._require_changed_gradients(message)
        counts = step.tree == FIRST_TREE
        vector = self._rows.counts() if counts else self._rows.vector(step.tree, step.level)
        try:
            upload = self._masks.upload(step, message.roster, self.progress.transcript, vector)
        except StepRefused:
            return [self.back()]
        return [Uploaded(upload=upload.to_bytes())]

    def _require_changed_gradients(self, message: Ask) -> None:
        """Raise RosterRefused for another roster after a tree that changed all rows alike.

        The gradients of all rows, or at least their differences, would then be as before, and the
        difference of both trees' sums would be the histogram of the lenders that left or came.
        """
        last = next(
            (one for one in reversed(self.progress.results) if isinstance(one, Grown)), None
        )
        if message.step.level > 0 or last is None or last.lenders == message.roster:
            return
        if self._rows.trees[-1].is_constant:
            raise RosterRefused(
                f"The coordinator changes the lenders after tree {last.splits.tree}, which gave "
                "all rows the same value. The sums with and without a lender would show that "
                "lender's own, so nothing was sent. Ask its operator to end the training."
            )

    def _announced(self, tree: int) -> list[FromLender]:
        """Return the message that this lender is here, once for each tree without it."""
        if self._told == tree:
            return []
        self._told = tree
        return [self.back()]

    def _expected(self) -> tuple[int, int]:
        if not self._counted:
            return FIRST_TREE, 0
        growing = self._rows.growing
        return growing.tree, growing.level

    def _caught_up(self, first: int, results: tuple[Result, ...]) -> bool:
        """Add the results that are new; returns False if some before them are missing."""
        known = self.progress.results
        if first > len(known):
            return False
        old, new = results[: len(known) - first], results[len(known) - first :]
        if tuple(known[first : first + len(old)]) != old:
            raise PartiesDisagree(
                "The coordinator sent other results than before. This lender takes no further "
                "part; ask the coordinator's operator for the reason."
            )
        for result in new:
            self._apply(result)
            known.append(result)
            self.progress.transcript = extended(self.progress.transcript, result)
        return True

    def _apply(self, result: Result) -> None:
        """Check a result, and apply it to this lender's rows."""
        if self._stopped is not None or self._counted == isinstance(result, Counted):
            raise PartiesDisagree(
                "The coordinator sent a result that cannot come here. This lender takes no further "
                "part; ask the coordinator's operator for the reason."
            )
        if isinstance(result, Counted):
            self._rows.begin(result.usable)
            self._counted = True
        elif isinstance(result, Grown):
            self._group.require_roster(result.lenders)
            self._rows.apply(result.splits)
        elif isinstance(result, Ended):
            self._rows.cut()
        elif isinstance(result, Stopped):
            if result.trees > len(self._rows.trees):
                raise PartiesDisagree("The coordinator keeps more trees than were grown.")
            self._stopped = result
