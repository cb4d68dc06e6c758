"""The runs that this server evaluates: their progress, and an estimate of the remaining time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from contract.http import RunPhase
from service.execution.interface import RunProgress


@dataclass(frozen=True)
class LiveRun:
    """A run in progress.

    `began` is the time at which its evaluation began, and `told` that of its latest progress, both
    in seconds of one clock.
    """

    share: float = 0.0
    phase: RunPhase | None = None
    runs: int = 1
    began: float = 0.0
    told: float = 0.0

    def after(self, found: RunProgress, now: float) -> LiveRun:
        """Return the run with the progress that was reported at `now`."""
        began = self.began if self.phase == found.phase else now
        return LiveRun(found.share, found.phase, found.runs, began, now)

    def remaining(self, now: float, decision: float | None) -> int | None:
        """Return an estimate of the seconds until the evaluation ends, or None without a basis.

        Before the first of several runs of the model has ended, `decision`, the seconds that the
        decision took, which is one run, is the basis.
        """
        if self.phase != "evaluating":
            return None
        if self.share > 0:
            total = (self.told - self.began) / self.share
        elif self.runs > 1 and decision is not None:
            total = decision * self.runs
        else:
            return None
        return math.ceil(max(0.0, total - (now - self.began)))


LiveRuns: TypeAlias = Mapping[tuple[str, str], LiveRun]
"""Runs by (application id, program)."""
