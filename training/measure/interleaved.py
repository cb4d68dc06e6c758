"""Interleaved runs of several engines on the same applicants, each engine in its own process.

A machine's speed drifts, so that only interleaved runs can be compared: medians are over the
applicants that all engines had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from engines.concrete_ml.features import remaining_rows
from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from features.encoding import Bits
from training.encrypted_runs import same_scores
from training.held_out import HeldOut
from training.measure.engine_process import EngineProcess
from utils.errors import EvaluationFailed

Timings = dict[str, list[dict[str, Any]]]
"""Times of each run, by program."""


@dataclass(frozen=True)
class Contender:
    """An engine's process, and the numbers of applicants that it decides and explains.

    Each applicant is run `repeats` times and the median is used, because runs of milliseconds are
    easily disturbed by other processes.
    """

    process: EngineProcess
    decisions: int
    explanations: int
    repeats: int = 1


def in_turn(
    contenders: Mapping[str, Contender],
    rows: HeldOut,
    order: list[int],
    beside: Callable[[int, Bits], None] | None = None,
) -> dict[str, Timings]:
    """Run all contenders on the rows of `order`, applicant by applicant; returns their timings.

    `beside` is called with the number of each applicant, from 0, and its bits. Raises
    EvaluationFailed if a score differs from the reference, and errors of the engines.
    """
    timings: dict[str, Timings] = {name: {DECIDE: [], EXPLAIN: []} for name in contenders}
    total = max(own.decisions for own in contenders.values())
    for i in tqdm(range(total), desc="applicants", unit="applicant", leave=False):
        bits = rows.bits[order[i % len(order)]]
        for name, own in contenders.items():
            programs = (DECIDE, EXPLAIN)[: (i < own.decisions) + (i < own.explanations)]
            runs: Timings = {program: [] for program in programs}
            for _ in range(own.repeats):
                for program in programs:
                    runs[program].append(_checked(own.process, program, bits))
            for program, found in runs.items():
                timings[name][program].append(_median_of(found))
        if beside is not None:
            beside(i, bits)
    return timings


def _checked(engine: EngineProcess, program: str, bits: Bits) -> dict[str, Any]:
    timed, expected = engine.decide(bits) if program == DECIDE else engine.explain(bits)
    if not same_scores(timed.scores, expected):
        raise EvaluationFailed(
            f"{engine.engine} opened {timed.scores}, but expected {expected} ({program})."
        )
    return {
        "encrypt_seconds": timed.encrypt,
        "evaluate_seconds": timed.evaluate,
        "open_seconds": timed.open,
        "scores": len(timed.scores),
    }


def _median_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = {k: float(np.median([run[k] for run in runs])) for k in runs[0] if k != "scores"}
    return {**seconds, "scores": sum(run["scores"] for run in runs)}


def explained_first(deployment: Deployment, rows: HeldOut, explained: int) -> list[int]:
    """Return row numbers: `explained` denied rows with every bin remaining, then all others.

    Explanations are meant for denied applicants, and for these rows an engine that runs once per
    bin has to run for every bin.
    """
    scores = deployment.programs[DECIDE].scores(rows.bits)[:, 0]
    layout = deployment.layout
    bins = 1 + len(layout.schema.explained_steps)
    first = [
        i
        for i, bits in enumerate(rows.bits)
        if scores[i] < 0 and len(remaining_rows(layout, bits)) == bins
    ][:explained]
    return first + [i for i in range(len(scores)) if i not in first]


def paired(timings: Mapping[str, Timings]) -> dict[str, int]:
    """Return, for each program, the number of applicants that all its contenders had."""
    counts = {p: [len(t[p]) for t in timings.values() if t[p]] for p in (DECIDE, EXPLAIN)}
    return {program: min(own, default=0) for program, own in counts.items()}


def medians(timings: Timings, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return, by program, medians over the first `counts` applicants, and totals of all runs."""
    return {
        program: {
            **{
                k: float(np.median([t[k] for t in runs[: counts[program]]]))
                for k in runs[0]
                if k != "scores"
            },
            "paired_runs": counts[program],
            "runs": len(runs),
            "equal_scores": sum(t["scores"] for t in runs),
            "evaluate_min_seconds": min(t["evaluate_seconds"] for t in runs),
            "evaluate_max_seconds": max(t["evaluate_seconds"] for t in runs),
        }
        if runs
        else None
        for program, runs in timings.items()
    }
