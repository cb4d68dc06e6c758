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
from federated.aggregation.lock_state import LockState
from federated.aggregation.statement import Step
from federated.boosting.fixed_point import Vector
from federated.boosting.rows import LocalRows
from federated.boosting.trees import Tree
from federated.plan import Plan
from federated.privacy.noise import with_noise
from federated.privacy.step_parts import parts_of_count, parts_of_step
from federated.protocol.messages import (
    AllUploaded,
    Ask,
    Back,
    Cancelled,
    Counted,
    Earlier,
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
from utils.errors import PartiesDisagree, StepRefused

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

    `sign` returns its Ed25519 signature. `secret` has 32 bytes, from which noise is drawn if the
    plan has any. Raises ForeignMessage if `progress` is that of another lender or training.
    """

    def __init__(
        self,
        plan: Plan,
        group: Group,
        me: str,
        sign: Callable[[bytes], bytes],
        secret: bytes,
        rows: LocalRows,
        progress: LenderProgress,
    ) -> None:
        self.plan, self.me, self.progress = plan, me, progress
        self._secret = secret
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
        if isinstance(message, Earlier):
            return [] if self._caught_up(message.first, message.results) else [self.back()]
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
        self._require_new_gradients(step)
        vector = self._vector(step)
        try:
            upload = self._masks.upload(step, message.roster, self.progress.transcript, vector)
        except StepRefused:
            return [self.back()]
        return [Uploaded(upload=upload.to_bytes())]

    def _announced(self, tree: int) -> list[FromLender]:
        """Return the message that this lender is here, once for each tree without it."""
        if self._told == tree:
            return []
        self._told = tree
        return [self.back()]

    def _expected(self) -> tuple[int, int]:
        if not self._counted:
            return 0, 0  # the count is the root of the first tree
        growing = self._rows.growing
        return growing.tree, growing.level

    def _vector(self, step: Step) -> Vector:
        """Return the sums of this lender's rows, with its noise if the plan has any."""
        rows, lenders = self._rows, len(self._group.lenders)
        if self._counted:
            vector = rows.vector(step.tree, step.level)
            parts = parts_of_step(self.plan, rows.cells, rows.growing, lenders)
        else:
            vector, parts = rows.counts(), parts_of_count(self.plan, lenders)
        if not parts:
            return vector
        run, place = self._group.run, {"tree": step.tree, "level": step.level}
        return with_noise(vector, parts, secret=self._secret, run=run, **place)

    def _require_new_gradients(self, step: Step) -> None:
        """Raise PartiesDisagree at the root that follows a tree which changed all rows alike.

        The gradients would be as before, or nearly: with another roster, the difference of both
        trees' sums would be the histogram of the lenders that left or came.
        """
        trees = self._rows.trees
        if step.level == 0 and trees and trees[-1].is_constant:
            raise PartiesDisagree(
                f"The coordinator goes on after tree {len(trees) - 1}, which gave all rows the "
                "same value, so that it could compare the same sums over different lenders. "
                "Nothing was sent; ask its operator to end the training."
            )

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
