"""`python -m training.evaluate`: compare encrypted decisions with the exact integer reference.

Runs decisions and explanations of held-out applicants under encryption, and stops with exit code 1
at the first score that differs from the reference. `--engine both` runs the same programs for the
same applicants on the levelled engine and on Concrete. Then a validation report of all held-out
rows is printed: quality, calibration, stability, and outcomes by group.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from engines.deployment import Deployment
from engines.interface import DECIDE, EXPLAIN, PROGRAMS, REASONS
from engines.registry import ENGINES
from features.encoding import Bits
from settings import ROOT, get_settings
from training.encrypted_runs import EncryptedRuns, Timed, same_scores
from training.held_out import HeldOut, held_out
from training.library import LibraryModel
from training.models import Labels
from training.report.evaluation import (
    report_markdown,
    training_of,
    validation_report,
    write_report,
)
from training.train import MODEL_FOLDER
from utils.errors import DeploymentError, ResultDiffers, TrainingDataInvalid, TrisealError
from utils.one_line import in_one_line
from utils.terminal import print_any_text

LEAST_AGREEMENT = 0.99
"""Least share of equal decisions with the float model, of the rows that rounding cannot change."""
BOTH = ("levelled", "concrete")
"""The engines that `--engine both` compares, on the shared programs."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = CommandParser(prog="training.evaluate", description=__doc__)
    parser.add_argument(
        "--engine", choices=[*ENGINES, "all", "both"], default="levelled", help="engine to evaluate"
    )
    parser.add_argument("--applicants", type=int, default=30, help="number of decisions")
    parser.add_argument("--explanations", type=int, default=10, help="number of them to explain")
    parser.add_argument("--deployment", type=Path, help="folder; from the settings by default")
    parser.add_argument("--data", type=Path, nargs="+", help="files that the model was trained on")
    parser.add_argument(
        "--model",
        type=Path,
        help="folder of the trained model, whose training rows the report compares with; "
        f"{MODEL_FOLDER.relative_to(ROOT)} by default, if it is of the deployed model",
    )
    parser.add_argument(
        "--report", type=Path, metavar="DIR", help="folder for the validation report and its plot"
    )
    parser.add_argument(
        "--report-only", action="store_true", help="print the report without encrypted runs"
    )
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args(arguments)
    results: list[dict[str, Any]] = []
    wrong = False
    try:
        folder = options.deployment or get_settings().deployment
        deployment = Deployment.load(folder)
        training = _training_rows(deployment, options.model)
        rows = held_out(deployment, options.data, training)
        if rows.y is None and (options.report_only or options.report):
            raise TrainingDataInvalid(
                "A report needs labelled rows: name the data that the model was trained on, or "
                "newer data, with --data."
            )
        for group in () if options.report_only else _groups(options.engine, deployment):
            runs = [EncryptedRuns(e, folder, shared=len(group) > 1) for e in group]
            bits = rows.bits[: options.applicants]
            for result in evaluate(runs, bits, options.explanations):
                if result["engine"] == "levelled":
                    result["agreement"] = float_agreement(deployment, rows.bits)
                results.append({**result, "rows": rows.source})
                print(summary(results[-1]))
                wrong = wrong or result["difference"] is not None
                if "agreement" in result:
                    require_agreement(result["agreement"])
            if wrong:
                break
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n")
        if options.report_only and "levelled" in deployment.manifest.engines:
            require_agreement(float_agreement(deployment, rows.bits))
        if not wrong:
            _report(deployment, rows, options.report)
    except (TrisealError, OSError) as error:
        print(f"training.evaluate: {in_one_line(error)}", file=sys.stderr)
        return 1
    return 1 if wrong else 0


def _training_rows(deployment: Deployment, model: Path | None) -> tuple[Bits, Labels] | None:
    """Return bits and labels of the training rows; None if no folder is named and none fits."""
    try:
        return training_of(deployment, model or MODEL_FOLDER)
    except DeploymentError:
        if model is not None:
            raise
        return None


def _report(deployment: Deployment, rows: HeldOut, out: Path | None) -> None:
    """Print the validation report of labelled rows, and write it to folder `out`."""
    if rows.y is None:
        print("No validation report: these are no labelled rows. Name the data with --data.")
        return
    report = validation_report(deployment, rows)
    print(report_markdown(report))
    if out is not None:
        write_report(report, out)
        print(f"Report written to {out}")


def _groups(engine: str, deployment: Deployment) -> list[list[str]]:
    """Return groups of engines; those of one group are evaluated together."""
    if engine == "both":
        return [list(BOTH)]
    if engine == "all":
        return [[name] for name in deployment.manifest.engines]
    return [[engine]]


def evaluate(runs: list[EncryptedRuns], bits: Bits, explanations: int) -> list[dict[str, Any]]:
    """Decide every row and explain the first ones with all `runs`; returns one result for each.

    Stops at the first score that differs from the reference.
    """
    results = [_Result(own) for own in runs]
    shown = ", ".join(own.engine for own in runs)
    for i, row in enumerate(tqdm(bits, desc=shown, unit="applicant", leave=False)):
        for program in PROGRAMS if i < explanations else (DECIDE,):
            for result in results:
                result.add(i, program, row)
            if any(result.difference for result in results):
                return [result.figures() for result in results]
    return [result.figures() for result in results]


class _Result:
    """The results of one engine's runs so far."""

    def __init__(self, runs: EncryptedRuns) -> None:
        self._runs = runs
        programs = [name for name in PROGRAMS if name in runs.server.public.programs]
        self._seconds: dict[str, list[float]] = {name: [] for name in programs}
        self._compared = dict.fromkeys(programs, 0)
        self.difference: dict[str, Any] | None = None

    def add(self, applicant: int, program: str, row: Bits) -> None:
        """Run a program, if there is one, on a row of bits; compare with the reference."""
        if program not in self._seconds:
            return
        timed = self._run(program, row)
        expected = self._runs.expected(program, row)
        self._seconds[program].append(timed.evaluate)
        if same_scores(timed.scores, expected):
            self._compared[program] += len(timed.scores)
        else:
            self.difference = {
                "applicant": applicant,
                "program": program,
                "opened": timed.scores,
                "expected": expected,
            }

    def _run(self, program: str, row: Bits) -> Timed:
        if program == REASONS:
            return self._runs.reasons()
        return self._runs.decide(row) if program == DECIDE else self._runs.explain(row)

    def figures(self) -> dict[str, Any]:
        """Return the results as JSON values."""
        medians = {p: float(np.median(s)) if s else None for p, s in self._seconds.items()}
        return {
            "engine": self._runs.engine,
            "score_bits": self._runs.server.public.programs[DECIDE].score_bits,
            "applicants": len(self._seconds[DECIDE]),
            "explanations": len(self._seconds[EXPLAIN]),
            "scores_equal": self._compared,
            "decide_seconds": medians[DECIDE],
            "explain_seconds": medians[EXPLAIN],
            "reasons_seconds": medians.get(REASONS),
            "difference": self.difference,
        }


def float_agreement(deployment: Deployment, bits: Bits) -> dict[str, Any]:
    """Return the share of rows on which the levelled program and the float model decide alike.

    `beyond` is this share of the `beyond_rows` rows whose log-odds are further from 0 than
    rounding can move them; without such a row it is None.
    """
    booster = LibraryModel((deployment.folder / "booster.json").read_bytes(), deployment.schema)
    margins = booster.log_odds(bits)
    program = deployment.programs_of("levelled")[DECIDE]
    same = (program.scores(bits)[:, 0] >= 0) == (margins > 0)
    beyond = np.abs(program.scale * margins) > program.rounding_bound
    return {
        "score_bits": program.score_bits,
        "rows": len(bits),
        "share": float(same.mean()),
        "beyond_rows": int(beyond.sum()),
        "beyond": float(same[beyond].mean()) if beyond.any() else None,
    }


def require_agreement(agreement: dict[str, Any]) -> None:
    """Raise ResultDiffers if the program decides unlike the float model where rounding cannot."""
    share = agreement["beyond"]
    if share is not None and share < LEAST_AGREEMENT:
        raise ResultDiffers(
            f"The programs decide like the float model on only {share:.2%} of the "
            f"{agreement['beyond_rows']} rows that rounding cannot change, and "
            f"{LEAST_AGREEMENT:.0%} are required: booster.json and the programs are of different "
            "models, or the installed XGBoost reads the booster differently. Run `make compile` "
            "again, and report it if that does not help."
        )


def summary(result: dict[str, Any]) -> str:
    """Return the result in one or two lines of text."""
    if result["difference"] is not None:
        d = result["difference"]
        return (
            f"{result['engine']}: DIFFERENT at applicant {d['applicant']}, {d['program']}: opened "
            f"{d['opened']}, expected {d['expected']}"
        )
    times = f"decide {result['decide_seconds']:.3f} s" if result["applicants"] else "nothing run"
    if result["explanations"]:
        times += f", explain {result['explain_seconds']:.3f} s"
    if result["reasons_seconds"]:
        times += f", reasons {result['reasons_seconds']:.3f} s"
    text = (
        f"{result['engine']}: {result['applicants']} decisions and {result['explanations']} "
        f"explanations ({result['scores_equal'][EXPLAIN]} scores) equal to the reference; {times} "
        f"(medians; scores of {result['score_bits']} bits; {result['rows']})"
    )
    if "agreement" in result:
        a = result["agreement"]
        text += (
            f"\n{result['engine']}: its own programs (scores of {a['score_bits']} bits) decide "
            f"like the float model on {a['share']:.2%} of {a['rows']} rows"
        )
    return text


if __name__ == "__main__":
    run_command(main)
