"""The parts of the benchmark; training/measure/benchmark.py is its command."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, roc_auc_score

from engines.concrete_ml.reference import reference_scores
from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from engines.levelled.parameters import Parameters
from features.encoding import Bits
from training.held_out import HeldOut
from training.measure.application_time import application_time
from training.measure.benchmark_tables import ENGINES, OURS, PARTS, PEER, comparison_rows
from training.measure.defences import ROUNDS, defences
from training.measure.engine_process import EngineProcess
from training.measure.http_overhead import http_overhead
from training.measure.interleaved import Contender, explained_first, in_turn, medians, paired
from training.measure.levelled_steps import LevelledSteps
from training.measure.levelled_tables import LEVELLED, UNMODIFIED, levelled_rows
from training.measure.machine import machine
from training.measure.noise_table import noise_table
from training.measure.remote import Remote
from training.measure.scaling import scaling
from training.measure.unmodified import quality, rows_of_training, write_unmodified
from utils.scratch_folder import scratch_folder


@dataclass(frozen=True)
class Scope:
    """The parts to measure; `ours` and `peer` are numbers of decisions and explanations."""

    engines: tuple[str, ...] = ENGINES
    ours: tuple[int, int] = (30, 10)
    peer: tuple[int, int] = (5, 2)
    parts: frozenset[str] = frozenset(PARTS)
    quick: bool = False
    data: list[Path] | None = None

    @property
    def repeats(self) -> int:
        """Number of runs of each applicant on the levelled engine."""
        return 1 if self.quick else 5

    @property
    def applications(self) -> int:
        """Number of complete applications over HTTP."""
        return 1 if self.quick else 7

    @property
    def noise(self) -> tuple[int, int]:
        """Numbers of applicants whose noise is measured, and of openings of each."""
        return (2, 4) if self.quick else (20, 50)


def benchmark(folder: Path, rows: HeldOut, scope: Scope) -> dict[str, Any]:
    """Run the benchmark; parts that are skipped, or whose engine is, are None in the result.

    Raises EvaluationFailed if an opened value differs from the reference, and the engines' errors.
    """
    deployment = Deployment.load(folder)
    levelled = LEVELLED in scope.engines
    parts = scope.parts if levelled else scope.parts & {"http"}
    result: dict[str, Any] = {
        "ratios": {},
        "machine": machine(),
        "model_version": deployment.manifest.model_version,
        "rows_from": rows.source,
        "engines": {},
        "http": None,
        "application": None,
        "defences": None,
        "scaling": None,
        "noise": None,
    }
    # Measured first, before the engines' processes take memory from the page cache.
    if "http" in parts and OURS in scope.engines:
        result["http"] = http_overhead(folder, rows.bits[0])
    if "application" in parts:
        programs = deployment.programs_of(LEVELLED)
        result["application"] = application_time(folder, programs, rows.bits, scope.applications)
        result["defences"] = defences(folder, rows.bits, min(scope.applications, ROUNDS))
    with scratch_folder("triseal-benchmark-") as temporary:
        folders = dict.fromkeys(scope.engines, folder)
        if "unmodified" in parts:
            training = rows_of_training(deployment, scope.data)
            folders[UNMODIFIED] = write_unmodified(deployment, training, temporary).folder
        result["engines"] = _engines(deployment, folders, rows, scope)
    result["ratios"] = _ratios(result["engines"])
    if "scaling" in parts:
        training = rows_of_training(deployment, scope.data)
        result["scaling"] = scaling(deployment.layout, training, rows.bits, scope.quick)
    if "noise" in parts:
        applicants, openings = scope.noise
        result["noise"] = noise_table(
            deployment.programs_of(LEVELLED),
            deployment.schema.party_names,
            Parameters.by_profile(deployment.engine_facts(LEVELLED)["profile"]),
            rows.bits[:applicants],
            openings,
        )
    result["rows"] = comparison_rows(result)
    result["levelled_rows"] = levelled_rows(result)
    return result


def _engines(
    deployment: Deployment, folders: dict[str, Path], rows: HeldOut, scope: Scope
) -> dict[str, Any]:
    """Measure each of `folders`, by engine or, for the second levelled model, UNMODIFIED."""
    with ExitStack() as stack:
        contenders, steps = {}, {}
        for name, folder in folders.items():
            joint = name in (LEVELLED, UNMODIFIED)
            process = EngineProcess(LEVELLED if joint else name, folder)
            decisions, explanations = scope.peer if name == PEER else scope.ours
            contenders[name] = Contender(
                stack.enter_context(process),
                decisions,
                min(decisions, explanations),
                scope.repeats if joint else 1,
            )
            if joint:
                remote = Remote(f"the steps of {name}", LevelledSteps, folder)
                steps[name] = stack.enter_context(remote)

        def beside(_: int, bits: Bits) -> None:
            for remote in steps.values():
                remote.call("round", bits)

        timings = in_turn(
            contenders, rows, explained_first(deployment, rows, scope.peer[1]), beside
        )
        measured = {}
        for name, contender in contenders.items():
            own = Deployment.load(folders[name])
            engine = contender.process.engine
            measured[name] = {
                **contender.process.facts,
                "peak_bytes": contender.process.peak_bytes(),
                **_quality(engine, own, rows),
                "recorded": own.manifest.engines[engine],
                **medians(timings[name], paired(timings)),
            }
            if name in steps:
                measured[name]["steps"] = steps[name].call("figures")
                measured[name]["repeats"] = contender.repeats
        return measured


def _ratios(measured: dict[str, Any]) -> dict[str, float]:
    """Return Concrete ML's medians divided by our engines', comparisons with 0 included."""
    return {
        f"{prefix}{program}_vs_concrete_ml": measured[PEER][program]["evaluate_seconds"]
        / measured[own][program]["evaluate_seconds"]
        for prefix, own in (("", OURS), ("deployed_", LEVELLED), ("levelled_", UNMODIFIED))
        for program in (DECIDE, EXPLAIN)
        if own in measured
        and PEER in measured
        and measured[PEER][program]
        and measured[own][program]
    }


def _quality(engine: str, deployment: Deployment, rows: HeldOut) -> dict[str, Any]:
    """Return AUC and accuracy of the opened scores on all held-out rows; more for levelled."""
    if engine == LEVELLED:
        return quality(deployment, rows)
    if rows.y is None:
        return {"auc": None, "accuracy": None}
    if engine == PEER:
        scores = reference_scores(deployment.folder, deployment.layout, rows.bits)
    else:
        scores = deployment.programs[DECIDE].scores(rows.bits)[:, 0].astype(np.float64)
    return {
        "auc": float(roc_auc_score(rows.y, scores)),
        "accuracy": float(accuracy_score(rows.y, scores >= 0)),
    }
