"""What the applications of a load are: random records, and the scores that must come out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.deployment import Deployment
from features.encoding import Bits, Layout
from model.polynomial import sample_states
from model.program import Program
from model.reference import reference_record
from training.measure.http_overhead import record_of

Scores = dict[str, tuple[float, ...]]
"""What was opened, by program."""

ENGINES = ("levelled", "clear")
"""Engines whose every opened score is the exact integer of the program."""


class WrongAnswer(Exception):
    """A score was opened that is not the reference's: what all this is to find."""


@dataclass(frozen=True)
class Application:
    """One application to be made: its number, each party's record, and whether it is explained."""

    number: int
    bits: Bits
    records: Mapping[str, Mapping[str, Any]]
    explained: bool


@dataclass(frozen=True)
class Work:
    """All applications of a trial, drawn from a seed; the same in every process that draws them."""

    layout: Layout
    programs: Mapping[str, Program]
    applications: tuple[Application, ...]

    @classmethod
    def drawn(cls, deployment: Path, engine: str, count: int, share: float, seed: int) -> Work:
        """`count` random valid records, of which about `share` are explained.

        Raises DeploymentError.
        """
        loaded = Deployment.load(deployment)
        loaded.engine_facts(engine)
        layout = loaded.layout
        rows = layout.bits_of_states(sample_states(layout, max(count, 1), seed))[:count]
        explained = np.random.default_rng(seed).random(count) < share
        applications = (
            Application(i, row, record_of(layout, row), bool(explained[i]))
            for i, row in enumerate(rows)
        )
        return cls(layout, loaded.programs_of(engine), tuple(applications))

    def require(self, application: Application, program: str, opened: tuple[float, ...]) -> None:
        """Raises WrongAnswer where the opened scores are not exactly those of the reference."""
        record = {k: v for own in application.records.values() for k, v in own.items()}
        scores = reference_record(self.programs[program], record, self.layout)
        expected = tuple(float(score) for score in scores)
        if opened != expected:
            raise WrongAnswer(f"{opened} was opened where {expected} was expected ({program}).")
