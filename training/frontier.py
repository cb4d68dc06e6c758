"""The frontier that training prints: the quality and the cost of each shape of model.

Quality is measured on the integer scores of the engine that is to be deployed, not only on the
float model. Of rows that are too few for a validation part, it is that of cross-validation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score

from engines.interface import DECIDE, EXPLAIN, REASONS
from engines.levelled.build import SCORE_WIDTHS
from features.encoding import Bits, Layout
from model.booster import parse_booster
from model.horner import external_products
from model.program import Program, decide_program, explain_program
from model.quantise import quantise
from model.reasons_program import stated_program
from training.models import Rows, Shape, fit_rows, log_odds, model_json
from training.monotone_check import require_monotone
from training.validation import Auc, CrossValidated, auc_of

matplotlib.use("Agg")  # no display on a server
from matplotlib import pyplot

NARROWEST = 7
"""Score bits of the shared programs, unless Concrete affords more."""
CONCRETE_ENGINES = frozenset({"concrete", "concrete_ml"})
_PROOF_SECONDS = 4.0


@dataclass(frozen=True)
class Entry:
    """One line of the frontier; AUC and accuracy are those of the integer score.

    `auc_error` is the standard error of the AUC. With cross-validation, AUC and accuracy are those
    of out-of-fold float scores. `agreement` is the share of decisions equal to those of the float
    model. Bootstraps are None unless Concrete is to be deployed. The seconds are medians of
    encrypted runs, or None if they were not measured.
    """

    name: str
    float_auc: float
    auc: float
    accuracy: float
    agreement: float
    score_bits: int
    decide_bootstraps: int | None
    explain_bootstraps: int | None
    external_products: int
    decide_seconds: float | None = None
    explain_seconds: float | None = None
    chosen: bool = False
    auc_error: float | None = None

    @property
    def cost(self) -> int:
        """Bootstraps of a decision on Concrete, or its external products on the levelled engine."""
        bootstraps = self.decide_bootstraps
        return self.external_products if bootstraps is None else bootstraps


@dataclass(frozen=True)
class Candidate:
    """A fitted shape; `margins` are its log-odds for rows that it was not trained on."""

    entry: Entry
    booster: bytes
    decide: Program
    margins: NDArray[np.float64]


def programs_for(
    booster: bytes,
    layout: Layout,
    calibration: Bits,
    score_bits: int,
    seconds: float = 15.0,
    reasons: bool = True,
) -> dict[str, Program]:
    """Return the programs of a booster; `seconds` bounds each proof. Raises ModelError.

    `reasons` is False where only the cost of the other two counts.
    """
    decide = _decide_for(booster, layout, calibration, score_bits, seconds)
    programs = {DECIDE: decide, EXPLAIN: explain_program(decide, layout)}
    return with_reasons(programs, layout, calibration, seconds) if reasons else programs


def with_reasons(
    programs: dict[str, Program], layout: Layout, calibration: Bits, seconds: float = 15.0
) -> dict[str, Program]:
    """Return the programs and `reasons`, unless the schema has too many reasons."""
    reasons = stated_program(programs[DECIDE], layout, calibration, seconds)
    return programs if reasons is None else programs | {REASONS: reasons}


def _decide_for(
    booster: bytes, layout: Layout, calibration: Bits, score_bits: int, seconds: float
) -> Program:
    ensemble = parse_booster(booster, layout)
    return decide_program(quantise(ensemble, layout, score_bits, calibration, seconds), layout)


def decision_program(booster: bytes, layout: Layout, calibration: Bits, score_bits: int) -> Program:
    """Return a booster's decision program for the measurements of training.

    Raises ModelError, and NotMonotone unless the directions that the schema asks for are proven.
    """
    decide = _decide_for(booster, layout, calibration, score_bits, _PROOF_SECONDS)
    require_monotone(decide, layout)
    return decide


def candidate(
    shape: Shape,
    layout: Layout,
    train: Rows,
    held_out: Rows,
    engines: Sequence[str],
    timing: bool,
    folds: CrossValidated | None = None,
) -> Candidate:
    """Fit a shape on `train` and measure its program on `held_out`.

    Its scores are as wide as those of the levelled engine, or as those of the shared programs if
    Concrete is among the `engines`.
    With `folds`, the quality is that of cross-validation; `held_out` then serves only to compare
    the program with the float model. Raises ModelError.
    """
    booster = fit_rows(shape, layout, train)
    margins = log_odds(booster, held_out.bits)
    text = model_json(booster)
    module = None
    bootstraps: dict[str, int] = {}
    if CONCRETE_ENGINES.intersection(engines):
        if timing:
            from training.concrete_cost import widest_programs

            programs, module = widest_programs(text, layout, train.bits, _PROOF_SECONDS)
        else:
            programs = programs_for(
                text, layout, train.bits, NARROWEST, _PROOF_SECONDS, reasons=False
            )
        decide = programs[DECIDE]
        bootstraps = {name: len(program.plan.lookups) for name, program in programs.items()}
        require_monotone(decide, layout)
    else:
        decide = decision_program(text, layout, train.bits, SCORE_WIDTHS[0])
    scores = decide.scores(held_out.bits)[:, 0]
    if folds is None:
        float_auc, auc = auc_of(held_out.y, margins), auc_of(held_out.y, scores)
        approved = scores >= 0
    else:
        float_auc = auc = folds.auc
        approved = folds.margins > 0
    entry = Entry(
        name=shape.name,
        float_auc=float_auc.value,
        auc=auc.value,
        accuracy=float(accuracy_score(held_out.y, approved)),
        agreement=float(((scores >= 0) == (margins > 0)).mean()),
        score_bits=decide.score_bits,
        decide_bootstraps=bootstraps.get(DECIDE),
        explain_bootstraps=bootstraps.get(EXPLAIN),
        external_products=external_products(decide.polynomial),
        auc_error=auc.error,
    )
    if module is not None:
        from training.concrete_cost import timed

        decide_seconds, explain_seconds = timed(module, layout, held_out.bits[0])
        entry = replace(entry, decide_seconds=decide_seconds, explain_seconds=explain_seconds)
    return Candidate(entry, text, decide, margins if folds is None else folds.margins)


def choose(entries: list[Entry], reference_auc: float, tolerance: float) -> int:
    """Return the index of the cheapest entry with an AUC within `tolerance` of the reference.

    If there is none, return the entry with the highest AUC.
    """
    good = [i for i, e in enumerate(entries) if e.auc >= reference_auc - tolerance]
    if not good:
        return max(range(len(entries)), key=lambda i: entries[i].auc)
    return min(good, key=lambda i: (entries[i].cost, -entries[i].auc))


def table(entries: list[Entry], reference_auc: float) -> str:
    """Return the frontier as text; columns that only Concrete has are left out without it."""
    concrete = any(e.decide_bootstraps is not None for e in entries)
    head = (
        f"{'shape':<32} {'float':>6} {'AUC':>6} {'95 % interval':>15} {'acc.':>6} {'agree':>6} "
        f"{'bits':>4} {'ext.p.':>6}"
    )
    more = f" {'PBS':>4} {'expl.':>5} {'decide s':>9} {'explain s':>9}" if concrete else ""
    lines = [f"float reference (100 x depth 3): AUC {reference_auc:.4f}", head + more]
    for e in entries:
        line = (
            f"{('> ' if e.chosen else '  ') + e.name:<32} {e.float_auc:>6.4f} {e.auc:>6.4f} "
            f"{_interval(e):>15} {e.accuracy:>6.4f} {e.agreement:>6.4f} {e.score_bits:>4} "
            f"{e.external_products:>6}"
        )
        if concrete:
            line += (
                f" {_count(e.decide_bootstraps):>4} {_count(e.explain_bootstraps):>5} "
                f"{_seconds(e.decide_seconds):>9} {_seconds(e.explain_seconds):>9}"
            )
        lines.append(line)
    return "\n".join(lines)


def _interval(entry: Entry) -> str:
    if entry.auc_error is None:
        return "-"
    low, high = Auc(entry.auc, entry.auc_error).interval
    return f"{low:.4f}-{high:.4f}"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def save(entries: list[Entry], reference_auc: float, folder: Path) -> None:
    """Write frontier.json and frontier.png."""
    document = {"reference_auc": reference_auc, "entries": [asdict(e) for e in entries]}
    (folder / "frontier.json").write_text(json.dumps(document, indent=2) + "\n")
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for entry in entries:
        colour = "tab:green" if entry.chosen else "tab:blue"
        axes.scatter(entry.cost, entry.auc, color=colour, zorder=3)
        axes.annotate(
            entry.name,
            (entry.cost, entry.auc),
            xytext=(5, -3),
            textcoords="offset points",
            fontsize=7,
        )
    axes.axhline(reference_auc, color="grey", linestyle="--", label="float reference")
    concrete = any(entry.decide_bootstraps is not None for entry in entries)
    unit = "programmable bootstraps" if concrete else "external products"
    axes.set_xlabel(f"{unit} per decision")
    axes.set_ylabel("AUC on rows not trained on")
    axes.set_title("The cost of accuracy under encryption (green: chosen)")
    axes.margins(x=0.2)
    axes.legend(loc="lower right")
    figure.savefig(folder / "frontier.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
