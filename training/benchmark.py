"""`python -m training.benchmark`: this engine beside Concrete ML, interleaved, on one machine.

Both engines decide and explain the same held-out applicants in turn, each in its own process, with
real encryption. Ratios are medians of one over medians of the other in the same run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, roc_auc_score
from tqdm import tqdm

from engines.concrete_ml.reference import reference_scores
from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from model.reference import counterfactual_rows
from settings import get_settings
from training.encrypted_runs import same_scores
from training.engine_process import EngineProcess
from training.held_out import HeldOut, held_out
from training.http_overhead import http_overhead
from training.machine import machine
from utils.errors import EvaluationFailed, TrisealError

OURS, PEER = "concrete", "concrete_ml"


def main(arguments: list[str] | None = None) -> int:
    """The command; answers the exit code."""
    parser = argparse.ArgumentParser(prog="training.benchmark", description=__doc__)
    parser.add_argument("--applicants", type=int, default=30, help="decided by this engine")
    parser.add_argument("--peer-applicants", type=int, default=5, help="decided by both in turn")
    parser.add_argument("--explanations", type=int, default=10, help="explained by this engine")
    parser.add_argument("--peer-explanations", type=int, default=2, help="explained by both")
    parser.add_argument("--deployment", type=Path, default=get_settings().deployment)
    parser.add_argument("--data", type=Path, nargs="+", help="files that the model was trained on")
    parser.add_argument("--no-http", action="store_true", help="leave the server out")
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--readme", type=Path, help="text whose marked table is replaced")
    options = parser.parse_args(arguments)
    try:
        result = benchmark(
            options.deployment,
            held_out(Deployment.load(options.deployment), options.data),
            (options.applicants, options.explanations),
            (options.peer_applicants, options.peer_explanations),
            http=not options.no_http,
        )
    except TrisealError as error:
        print(f"training.benchmark: {error.message}", file=sys.stderr)
        return 1
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.readme:
        replace_table(options.readme, result)
    return 0


def benchmark(
    folder: Path, rows: HeldOut, ours: tuple[int, int], peer: tuple[int, int], http: bool
) -> dict[str, Any]:
    """Measure; `ours` and `peer` are numbers of decisions and explanations.

    Raises EvaluationFailed where a score differs from the reference, and what the engines raise.
    """
    deployment = Deployment.load(folder)
    measured: dict[str, Any] = {}
    # First, while no engine's process holds memory that the files on their way could use.
    over_http = http_overhead(folder, rows.bits[0]) if http else None
    with EngineProcess(OURS, folder) as our_engine, EngineProcess(PEER, folder) as peer_engine:
        limits = {OURS: (our_engine, ours), PEER: (peer_engine, peer)}
        timings: dict[str, dict[str, list[Any]]] = {e: {DECIDE: [], EXPLAIN: []} for e in limits}
        order = _order(deployment, rows, peer[1])
        total = max(ours[0], peer[0])
        for i in tqdm(range(total), desc="applicants", unit="applicant", leave=False):
            bits = rows.bits[order[i % len(order)]]
            for name, (engine, (decisions, explanations)) in limits.items():
                if i < decisions:
                    timings[name][DECIDE].append(_checked(engine, DECIDE, bits))
                if i < min(decisions, explanations):
                    timings[name][EXPLAIN].append(_checked(engine, EXPLAIN, bits))
        for name, (engine, _) in limits.items():
            measured[name] = {
                **engine.facts,
                "peak_bytes": engine.peak_bytes(),
                **_quality(name, deployment, rows),
                "recorded": deployment.manifest.engines[name],
                **_medians(timings[name], _paired(timings)),
            }
    ratios = {
        f"{program}_vs_concrete_ml": measured[PEER][program]["evaluate_seconds"]
        / measured[OURS][program]["evaluate_seconds"]
        for program in (DECIDE, EXPLAIN)
        if measured[PEER][program] and measured[OURS][program]
    }
    result: dict[str, Any] = {
        "ratios": ratios,
        "machine": machine(),
        "model_version": deployment.manifest.model_version,
        "rows_from": rows.source,
        "engines": measured,
        "http": over_http,
    }
    result["rows"] = comparison_rows(result)
    return result


def _order(deployment: Deployment, rows: HeldOut, explained: int) -> list[int]:
    """Row numbers: first `explained` denied ones for whom every bin remains, then all others.

    Those are whom an explanation is for, and for them the peer runs once for every bin.
    """
    scores = deployment.programs[DECIDE].scores(rows.bits)[:, 0]
    layout = deployment.layout
    own = layout.party_bits(layout.schema.explained_party)
    first = [
        i
        for i, bits in enumerate(rows.bits)
        if scores[i] < 0
        and (counterfactual_rows(bits, layout)[:, own] != bits[own]).any(axis=1).all()
    ][:explained]
    return first + [i for i in range(len(scores)) if i not in first]


def _checked(engine: EngineProcess, program: str, bits: Any) -> dict[str, Any]:
    timed, expected = engine.decide(bits) if program == DECIDE else engine.explain(bits)
    if not same_scores(timed.scores, expected):
        raise EvaluationFailed(
            f"{engine.engine} opened {timed.scores} where {expected} was expected ({program})."
        )
    return {
        "encrypt_seconds": timed.encrypt,
        "evaluate_seconds": timed.evaluate,
        "open_seconds": timed.open,
        "scores": len(timed.scores),
    }


def _paired(timings: dict[str, dict[str, list[Any]]]) -> dict[str, int]:
    """For each program, how many applicants both engines had in turn (all, where one had none)."""
    counts = {p: [len(t[p]) for t in timings.values() if t[p]] for p in (DECIDE, EXPLAIN)}
    return {program: min(own, default=0) for program, own in counts.items()}


def _medians(timings: dict[str, list[dict[str, Any]]], paired: dict[str, int]) -> dict[str, Any]:
    """For each program medians over the applicants that both had, and counts over all runs.

    A machine's speed drifts: only what was measured in turn may be compared.
    """
    return {
        program: {
            **{
                k: float(np.median([t[k] for t in runs[: paired[program]]]))
                for k in runs[0]
                if k != "scores"
            },
            "paired_runs": paired[program],
            "runs": len(runs),
            "equal_scores": sum(t["scores"] for t in runs),
            "evaluate_min_seconds": min(t["evaluate_seconds"] for t in runs),
            "evaluate_max_seconds": max(t["evaluate_seconds"] for t in runs),
        }
        if runs
        else None
        for program, runs in timings.items()
    }


def _quality(engine: str, deployment: Deployment, rows: HeldOut) -> dict[str, Any]:
    """AUC and accuracy of the opened scores on all held-out rows."""
    if rows.y is None:
        return {"auc": None, "accuracy": None}
    if engine == OURS:
        scores = deployment.programs[DECIDE].scores(rows.bits)[:, 0].astype(np.float64)
    else:
        scores = reference_scores(deployment.folder, deployment.layout, rows.bits)
    return {
        "auc": float(roc_auc_score(rows.y, scores)),
        "accuracy": float(accuracy_score(rows.y, scores >= 0)),
    }


def comparison_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What the table, the page and the README show: one line a figure."""
    ours, peer = result["engines"][OURS], result["engines"][PEER]
    megabyte = 1e6

    def row(name: str, unit: str, own: Any, other: Any) -> dict[str, Any]:
        ratio = other / own if own and other else None
        return {"name": name, "unit": unit, "value": own, "concrete_ml": other, "ratio": ratio}

    def program(name: str, key: str) -> tuple[Any, Any]:
        return tuple(e[name][key] if e[name] else None for e in (ours, peer))  # type: ignore[return-value]

    recorded = (ours["recorded"], peer["recorded"])
    uploads = [sum(sum(sizes) for sizes in r["input_bytes"].values()) / 1e3 for r in recorded]
    return [
        row("decide", "s", *program(DECIDE, "evaluate_seconds")),
        row("explain, every remaining bin", "s", *program(EXPLAIN, "evaluate_seconds")),
        row(
            "bootstraps a decision",
            "",
            recorded[0]["lookups"][DECIDE],
            recorded[1]["lookups"][DECIDE],
        ),
        row("AUC", "", ours["auc"], peer["auc"]),
        row("accuracy", "", ours["accuracy"], peer["accuracy"]),
        row("key generation", "s", ours["key_seconds"], peer["key_seconds"]),
        row(
            "evaluation key",
            "MB",
            ours["evaluation_key_bytes"] / megabyte,
            peer["evaluation_key_bytes"] / megabyte,
        ),
        row("all parties' encrypted inputs", "KB", *uploads),
        row("encrypt, all parties", "s", *program(DECIDE, "encrypt_seconds")),
        row("open", "s", *program(DECIDE, "open_seconds")),
        row("peak memory", "MB", ours["peak_bytes"] / megabyte, peer["peak_bytes"] / megabyte),
    ]


def table(result: dict[str, Any]) -> str:
    """The comparison as text."""
    lines = [
        f"{'':<32} {'concrete':>12} {'concrete_ml':>12} {'ratio':>9}",
        *(
            f"{', '.join(filter(None, (row['name'], row['unit']))):<32} "
            f"{_figure(row['value']):>12} {_figure(row['concrete_ml']):>12} "
            f"{_figure(row['ratio']):>9}"
            for row in result["rows"]
        ),
    ]
    for name, engine in result["engines"].items():
        runs = {p: engine[p] for p in (DECIDE, EXPLAIN) if engine[p]}
        lines.append(
            f"{name}: "
            + ", ".join(
                f"{run['runs']} x {p} ({run['equal_scores']} scores equal to the reference)"
                for p, run in runs.items()
            )
        )
    if result["http"]:
        lines.append("over HTTP, beside the evaluation, ms a call (median):")
        lines += [f"  {call:<30} {ms:>8.1f}" for call, ms in result["http"].items()]
    lines.append("machine: " + ", ".join(f"{k} {v}" for k, v in result["machine"].items()))
    return "\n".join(lines)


BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def markdown_table(result: dict[str, Any]) -> str:
    """The comparison for the README, between its marks."""
    lines = [BEGIN, "| | Triseal on Concrete | Concrete ML 40 x 3 | ratio |", "|---|---|---|---|"]
    lines += [
        f"| {', '.join(filter(None, (row['name'], row['unit'])))} | {_figure(row['value'])} | "
        f"{_figure(row['concrete_ml'])} | {_figure(row['ratio'])} |"
        for row in result["rows"]
    ]
    if result["http"]:
        calls = "; ".join(f"`{call}` {ms:.0f}" for call, ms in result["http"].items())
        lines += ["", f"HTTP beside the engine's work, median milliseconds a call: {calls}."]
    place = ", ".join(f"{k} {v}" for k, v in result["machine"].items())
    return "\n".join([*lines, "", f"Medians of one interleaved run; {place}.", END])


def replace_table(readme: Path, result: dict[str, Any]) -> None:
    """Put the table between its marks in `readme`."""
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(before + markdown_table(result) + after)


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
