"""`python -m training.evaluate`: real encrypted decisions against the exact integer reference.

Takes held-out applicants, runs decisions and explanations under encryption, and stops with exit
code 1 at the first score that differs from the reference by one unit.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN
from engines.registry import ENGINES
from settings import get_settings
from training.encrypted_runs import EncryptedRuns, same_scores
from training.held_out import held_out
from utils.errors import TrisealError


def main(arguments: list[str] | None = None) -> int:
    """The command; answers the exit code."""
    parser = argparse.ArgumentParser(prog="training.evaluate", description=__doc__)
    parser.add_argument(
        "--engine", choices=[*ENGINES, "all"], default="concrete", help="which to evaluate"
    )
    parser.add_argument("--applicants", type=int, default=30, help="decisions to make")
    parser.add_argument(
        "--explanations", type=int, default=10, help="of those, how many to explain"
    )
    parser.add_argument("--deployment", type=Path, default=get_settings().deployment)
    parser.add_argument("--data", type=Path, nargs="+", help="files that the model was trained on")
    parser.add_argument("--json", type=Path, help="where to write the result")
    options = parser.parse_args(arguments)
    results, wrong = [], False
    try:
        deployment = Deployment.load(options.deployment)
        rows = held_out(deployment, options.data)
        engines = list(deployment.manifest.engines) if options.engine == "all" else [options.engine]
        for engine in engines:
            runs = EncryptedRuns(engine, options.deployment)
            result = evaluate(runs, rows.bits[: options.applicants], options.explanations)
            results.append({"engine": engine, "rows": rows.source, **result})
            print(summary(results[-1]))
            if result["difference"] is not None:
                wrong = True
                break
    except TrisealError as error:
        print(f"training.evaluate: {error.message}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if wrong else 0


def evaluate(runs: EncryptedRuns, bits: Any, explanations: int) -> dict[str, Any]:
    """Decide every row and explain the first few; stops at the first difference."""
    seconds: dict[str, list[float]] = {DECIDE: [], EXPLAIN: []}
    compared = {DECIDE: 0, EXPLAIN: 0}
    difference = None
    for i, row in enumerate(tqdm(bits, desc=runs.engine, unit="applicant", leave=False)):
        for program in (DECIDE, EXPLAIN)[: 2 if i < explanations else 1]:
            timed = runs.decide(row) if program == DECIDE else runs.explain(row)
            expected = runs.expected(program, row)
            seconds[program].append(timed.evaluate)
            if not same_scores(timed.scores, expected):
                difference = {
                    "applicant": i,
                    "program": program,
                    "opened": timed.scores,
                    "expected": expected,
                }
                break
            compared[program] += len(timed.scores)
        if difference:
            break
    return {
        "applicants": len(seconds[DECIDE]),
        "explanations": len(seconds[EXPLAIN]),
        "scores_equal": compared,
        "decide_seconds": float(np.median(seconds[DECIDE])) if seconds[DECIDE] else None,
        "explain_seconds": float(np.median(seconds[EXPLAIN])) if seconds[EXPLAIN] else None,
        "difference": difference,
    }


def summary(result: dict[str, Any]) -> str:
    """One line for a person."""
    if result["difference"] is not None:
        d = result["difference"]
        return (
            f"{result['engine']}: DIFFERENT at applicant {d['applicant']}, {d['program']}: opened "
            f"{d['opened']}, expected {d['expected']}"
        )
    times = f"decide {result['decide_seconds']:.3f} s" if result["applicants"] else "nothing run"
    if result["explanations"]:
        times += f", explain {result['explain_seconds']:.3f} s"
    return (
        f"{result['engine']}: {result['applicants']} decisions and {result['explanations']} "
        f"explanations ({result['scores_equal'][EXPLAIN]} scores) equal to the reference; {times} "
        f"(medians; {result['rows']})"
    )


if __name__ == "__main__":
    sys.exit(main())
