"""The applications of a load: random records, and the values expected to be opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.deployment import Deployment
from engines.levelled.build import SCORE, SIGN
from features.contradictions import broken_rules
from features.encoding import Bits, Layout
from model.polynomial import sample_states
from model.program import Program
from model.reference import reference_record
from training.measure.http_overhead import record_of

Opened = dict[str, tuple[float, ...]]
"""Opened scores by program; 0 (approved) and -1 (denied) if only signs are opened."""

ENGINES = ("levelled", "clear")
"""Engines whose opened scores are exactly the integers of the program, or their signs."""


class WrongAnswer(Exception):
    """An opened score or sign differs from the reference."""


@dataclass(frozen=True)
class Application:
    """One application: its number, each party's record, and whether it is explained."""

    number: int
    bits: Bits
    records: Mapping[str, Mapping[str, Any]]
    explained: bool


@dataclass(frozen=True)
class Work:
    """All applications of a trial, drawn from a seed; the same in every process."""

    layout: Layout
    programs: Mapping[str, Program]
    signs: bool
    """True if only the signs of scores are opened."""
    applications: tuple[Application, ...]

    @classmethod
    def drawn(cls, deployment: Path, engine: str, count: int, share: float, seed: int) -> Work:
        """Draw `count` random records that parties accept, of which about `share` are explained.

        Raises DeploymentError.
        """
        loaded = Deployment.load(deployment)
        signs = loaded.engine_facts(engine).get("opens", SCORE) == SIGN
        layout = loaded.layout
        rows = _accepted(layout, count, seed)
        explained = np.random.default_rng(seed).random(count) < share
        applications = (
            Application(i, row, record_of(layout, row), bool(explained[i]))
            for i, row in enumerate(rows)
        )
        return cls(layout, loaded.programs_of(engine), signs, tuple(applications))

    def require(self, application: Application, program: str, opened: tuple[float, ...]) -> None:
        """Raise WrongAnswer unless the opened values are exactly those of the reference."""
        record = {k: v for own in application.records.values() for k, v in own.items()}
        scores = reference_record(self.programs[program], record, self.layout)
        signs = tuple(0 if score >= 0 else -1 for score in scores)
        expected = tuple(float(value) for value in (signs if self.signs else scores))
        if opened != expected:
            raise WrongAnswer(f"Opened {opened}, but expected {expected} ({program}).")


def _accepted(layout: Layout, count: int, seed: int) -> list[Bits]:
    """Draw so many rows of bits whose records break no rule of the schema."""
    found: list[Bits] = []
    while len(found) < count:
        for row in layout.bits_of_states(sample_states(layout, count, seed)):
            records = record_of(layout, row)
            if not any(broken_rules(layout.schema, p, own) for p, own in records.items()):
                found.append(row)
        seed += 1
    return found[:count]
