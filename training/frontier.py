"""The frontier that training prints: the quality and the cost of each shape of model.

Quality is measured on the integer scores that are opened, not only on the float model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matplotlib
from sklearn.metrics import accuracy_score, roc_auc_score

from features.encoding import Bits, Layout
from model.booster import parse_booster
from model.horner import external_products
from model.program import Program, decide_program, explain_program
from model.quantise import quantise
from model.reasons_program import stated_program
from training.models import Labels, Shape, fit, log_odds, model_json

matplotlib.use("Agg")  # no display on a server
from matplotlib import pyplot

NARROWEST = 7
"""Score bits of the shared programs, unless Concrete affords more."""
_PROOF_SECONDS = 4.0


@dataclass(frozen=True)
class Rows:
    """Encoded rows: `bits` (rows, n_bits), `y` (rows,) with 1 = approved."""

    bits: Bits
    y: Labels


@dataclass(frozen=True)
class Entry:
    """One line of the frontier; AUC and accuracy are those of the opened integer score.

    `agreement` is the share of decisions equal to those of the float model. The seconds are
    medians of encrypted runs, or None if they were not measured.
    """

    name: str
    float_auc: float
    auc: float
    accuracy: float
    agreement: float
    score_bits: int
    decide_bootstraps: int
    explain_bootstraps: int
    external_products: int
    decide_seconds: float | None = None
    explain_seconds: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class Candidate:
    """A fitted shape with its programs for Concrete."""

    entry: Entry
    booster: bytes
    programs: dict[str, Program]


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
    ensemble = parse_booster(booster, layout)
    decide = decide_program(quantise(ensemble, layout, score_bits, calibration, seconds), layout)
    programs = {"decide": decide, "explain": explain_program(decide, layout)}
    return with_reasons(programs, layout, calibration, seconds) if reasons else programs


def with_reasons(
    programs: dict[str, Program], layout: Layout, calibration: Bits, seconds: float = 15.0
) -> dict[str, Program]:
    """Return the programs and `reasons`, unless the schema has too many reasons."""
    reasons = stated_program(programs["decide"], layout, calibration, seconds)
    return programs if reasons is None else programs | {"reasons": reasons}


def candidate(shape: Shape, layout: Layout, train: Rows, held_out: Rows, timing: bool) -> Candidate:
    """Fit a shape, build its programs, and measure their quality on `held_out`."""
    booster = fit(shape, layout, train.bits, train.y)
    margins = log_odds(booster, held_out.bits)
    text = model_json(booster)
    if timing:
        from training.concrete_cost import widest_programs

        programs, module = widest_programs(text, layout, train.bits, _PROOF_SECONDS)
    else:
        programs = programs_for(text, layout, train.bits, NARROWEST, _PROOF_SECONDS, reasons=False)
    decide = programs["decide"]
    scores = decide.scores(held_out.bits)[:, 0]
    entry = Entry(
        name=shape.name,
        float_auc=float(roc_auc_score(held_out.y, margins)),
        auc=float(roc_auc_score(held_out.y, scores)),
        accuracy=float(accuracy_score(held_out.y, scores >= 0)),
        agreement=float(((scores >= 0) == (margins > 0)).mean()),
        score_bits=decide.score_bits,
        decide_bootstraps=len(decide.plan.lookups),
        explain_bootstraps=len(programs["explain"].plan.lookups),
        external_products=external_products(decide.polynomial),
    )
    if timing:
        from training.concrete_cost import timed

        decide_seconds, explain_seconds = timed(module, layout, held_out.bits[0])
        entry = replace(entry, decide_seconds=decide_seconds, explain_seconds=explain_seconds)
    return Candidate(entry, text, programs)


def choose(entries: list[Entry], reference_auc: float, tolerance: float) -> int:
    """Return the index of the cheapest entry with an AUC within `tolerance` of the reference.

    If there is none, return the entry with the highest AUC.
    """
    good = [i for i, e in enumerate(entries) if e.auc >= reference_auc - tolerance]
    if not good:
        return max(range(len(entries)), key=lambda i: entries[i].auc)
    return min(good, key=lambda i: (entries[i].decide_bootstraps, -entries[i].auc))


def table(entries: list[Entry], reference_auc: float) -> str:
    """Return the frontier as text."""
    lines = [
        f"float reference (100 x depth 3): AUC {reference_auc:.4f}",
        f"{'shape':<32} {'float':>6} {'AUC':>6} {'acc.':>6} {'agree':>6} {'bits':>4} "
        f"{'PBS':>4} {'expl.':>5} {'ext.p.':>6} {'decide s':>9} {'explain s':>9}",
    ]
    for e in entries:
        lines.append(
            f"{('> ' if e.chosen else '  ') + e.name:<32} {e.float_auc:>6.4f} {e.auc:>6.4f} "
            f"{e.accuracy:>6.4f} {e.agreement:>6.4f} {e.score_bits:>4} {e.decide_bootstraps:>4} "
            f"{e.explain_bootstraps:>5} {e.external_products:>6} {_seconds(e.decide_seconds):>9} "
            f"{_seconds(e.explain_seconds):>9}"
        )
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def save(entries: list[Entry], reference_auc: float, folder: Path) -> None:
    """Write frontier.json and frontier.png."""
    document = {"reference_auc": reference_auc, "entries": [asdict(e) for e in entries]}
    (folder / "frontier.json").write_text(json.dumps(document, indent=2) + "\n")
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for entry in entries:
        colour = "tab:green" if entry.chosen else "tab:blue"
        axes.scatter(entry.decide_bootstraps, entry.auc, color=colour, zorder=3)
        axes.annotate(
            entry.name,
            (entry.decide_bootstraps, entry.auc),
            xytext=(5, -3),
            textcoords="offset points",
            fontsize=7,
        )
    axes.axhline(reference_auc, color="grey", linestyle="--", label="float reference")
    axes.set_xlabel("programmable bootstraps per decision")
    axes.set_ylabel("validation AUC of the opened score")
    axes.set_title("The cost of accuracy under encryption (green: chosen)")
    axes.margins(x=0.2)
    axes.legend(loc="lower right")
    figure.savefig(folder / "frontier.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
