"""Controls of the trial: agents without a rule, which the checks must find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from federated.aggregation.lender_side import LenderMasks
from federated.aggregation.statement import Step
from federated.protocol.coordinator import Coordinator, Out


def installed(name: str) -> None:
    """Switch off the rule of this name in this process; none for an empty name."""
    if name:
        DOUBLES[name]()


def _unlocked() -> None:
    """Let a lender reveal its seed without locking the attempt."""
    reveal = LenderMasks.reveal

    def without_lock(self: LenderMasks, step: Step, signatures: Mapping[str, bytes]) -> bytes:
        before = self._state
        found = reveal(self, step, signatures)
        self._state = before
        return found

    LenderMasks.reveal = without_lock  # type: ignore[method-assign]


def _repeating() -> None:
    """Let a coordinator repeat a level without the lenders whose seeds are missing.

    It still sends everyone the signatures of the first attempt, which only locks withstand.
    """
    overdue = Coordinator.overdue

    def repeats(self: Coordinator) -> list[Out]:
        state = self.state
        if state.phase != "seeds" or state.step.level:
            return overdue(self)
        for lender in self.missing:
            self._lose(lender, "away", "It has not answered in time.")
        state.step = Step(state.step.tree, 0, state.step.attempt + 1)
        return self._begin()

    Coordinator.overdue = repeats  # type: ignore[method-assign]


DOUBLES: dict[str, Callable[[], Any]] = {"unlocked": _unlocked, "repeating": _repeating}
