"""`python -m training.train`: train a model on data and write it to `build/model`.

Tries the documented shapes and keeps the cheapest one that is as good as the others: by a
validation part, or by cross-validation below 2,000 rows. Prints and saves the frontier, with a
plot, and prints who would be approved, with warnings if that looks wrong.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import errno
import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, roc_auc_score

from engines.registry import ENGINES
from features.encoding import Bits, Layout
from features.schema import Schema
from model.referral import referred_rows
from settings import ROOT
from training.applied_rule import apply_rule, score_table, score_table_text
from training.approvals import (
    direction_warnings,
    label_warnings,
    meaning_of_label,
    outcomes,
    outcomes_text,
    result_warnings,
)
from training.calibration import Kind
from training.data import Part, Splits, training_frame
from training.data_warnings import data_warnings, rule_warnings
from training.decision_rule import Rule, RuleKind
from training.frontier import CONCRETE_ENGINES, decision_program, save, table
from training.models import SHAPES, Labels, Rows
from training.monotone_check import monotone_facts, require_consistent, require_monotone
from training.report.validation import LabelledRows, metrics_of_validation
from training.selection import Selection, by_cross_validation, by_validation
from training.synthetic_sources import synthetic_source
from training.time_split import split_rows
from training.validation import SMALL, auc_of
from training.weights import class_weights, sample_weights
from utils.environments import has_concrete
from utils.errors import TrainingDataInvalid, TrisealError
from utils.marked_folder import claim_folder, require_ours
from utils.one_line import in_one_line
from utils.terminal import print_any_text, printable

DEFAULT_SCHEMA = ROOT / "features" / "credit_card.json"
MODEL_FOLDER = ROOT / "build" / "model"
PURPOSE = "trained model"
_ROWS = "training_rows.npz"
_FILES = {"schema.json", "booster.json", "metrics.json", _ROWS, "frontier.json", "frontier.png"}


@dataclass(frozen=True)
class Choices:
    """The options of a training, besides its data.

    `class_weight` is "balanced", or the weight of a row with a bad outcome. `weights` and
    `split_by` name columns of the data file. Dates become months before `reference`, by default
    the newest of their column.
    """

    engines: tuple[str, ...] = ("levelled",)
    timing: bool = False
    rule: Rule = field(default_factory=Rule)
    calibration: Kind = "platt"
    class_weight: str | None = None
    weights: str | None = None
    split_by: str | None = None
    reference: date | None = None

    @property
    def extra(self) -> list[str]:
        """The columns of the data file that are no input of the model."""
        return [name for name in (self.weights, self.split_by) if name is not None]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    options = _parser().parse_args(arguments)
    try:
        train(
            options.schema,
            options.data,
            options.target,
            options.out,
            options.rows,
            options.seed,
            Choices(
                engines=tuple(options.engines),
                timing="concrete" in options.engines and has_concrete() and not options.no_timing,
                rule=_rule(options),
                calibration=options.calibration,
                class_weight=options.class_weight,
                weights=options.weights,
                split_by=options.split_by,
                reference=options.reference_date,
            ),
        )
    except (TrisealError, OSError) as error:
        print(f"training.train: {in_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="training.train", description=__doc__)
    parser.add_argument("--schema", type=Path, default=DEFAULT_SCHEMA, help="schema file (JSON)")
    parser.add_argument("--data", type=Path, nargs="+", help="CSV files; synthetic data by default")
    parser.add_argument("--target", help="label column; the schema's by default")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER, help="folder for the model")
    parser.add_argument("--rows", type=int, default=24_000, help="number of synthetic rows")
    parser.add_argument(
        "--seed",
        type=int,
        default=20,
        help="seed of the synthetic rows, of the split and of the folds; 20 by default",
    )
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=ENGINES,
        default=["levelled"],
        help="engines for which shapes are chosen and measured; levelled by default",
    )
    parser.add_argument(
        "--no-timing",
        action="store_true",
        help="with the engine concrete: skip the timed encrypted runs of every shape",
    )
    rule = parser.add_mutually_exclusive_group()
    rule.add_argument(
        "--approve-below",
        type=float,
        metavar="PD",
        help="approve below this probability of default, for example 0.05",
    )
    rule.add_argument(
        "--cost-ratio",
        type=float,
        metavar="R",
        help="approve what pays if a bad loan loses R times the gain of a good one",
    )
    rule.add_argument(
        "--approval-rate",
        type=float,
        metavar="SHARE",
        help="approve about this share of the applicants, for example 0.7",
    )
    rule.add_argument(
        "--refer-between",
        type=float,
        nargs=2,
        metavar=("PD", "PD"),
        help="approve below the first probability of default, deny from the second on, and refer "
        "to a person between, for example 0.05 0.1",
    )
    parser.add_argument(
        "--calibration",
        choices=("platt", "isotonic"),
        default="platt",
        help="form of the curve from score to probability of default; platt by default",
    )
    parser.add_argument(
        "--class-weight",
        metavar="balanced|W",
        help="weight in training of a row with a bad outcome, or balanced: both outcomes alike",
    )
    parser.add_argument("--weights", metavar="COLUMN", help="column with the weight of each row")
    parser.add_argument(
        "--split-by",
        metavar="COLUMN",
        help="column with a date or number: test on the newest 20 %%, validate on the 20 %% before",
    )
    parser.add_argument(
        "--reference-date",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="dates become months before this day (default: the newest date of the column)",
    )
    return parser


def _rule(options: argparse.Namespace) -> Rule:
    if options.refer_between is not None:
        approve, deny = options.refer_between
        return Rule("approve-below", approve, deny)
    kinds: tuple[RuleKind, ...] = ("approve-below", "cost-ratio", "approval-rate")
    for kind in kinds:
        value = getattr(options, kind.replace("-", "_"))
        if value is not None:
            return Rule(kind, value)
    return Rule()


def train(
    schema_file: Path,
    data: list[Path] | None,
    target: str | None,
    out: Path,
    rows: int,
    seed: int,
    choices: Choices,
) -> None:
    """Train a model and write schema, booster, training rows, metrics and frontier to `out`.

    Raises FeatureError, TrainingDataInvalid, ModelError, and FolderNotOurs if `out` holds anything
    but a trained model.
    """
    require_ours(out, PURPOSE, setting="--out", made_earlier=made_earlier)
    _require_writable(out)  # checked before minutes of work
    schema = Schema.load(schema_file)
    _require_trainable(schema, data, target, choices)
    layout = Layout(schema)
    label = target or schema.decision.target
    notes: list[str] = []
    read = (choices.extra, notes, choices.reference)
    frame, y = training_frame(schema, data, target, rows, seed, *read)
    for note in notes:
        print(printable(f"note: {note}"))
    inputs = frame[[column.name for column in schema.columns()]]
    warnings = list(data_warnings(inputs, y)) if data else []
    warnings += rule_warnings(schema, inputs)
    print(printable(meaning_of_label(schema.decision, label, y, notes)))
    splits = split_rows(frame, y, seed, choices.split_by)
    train_rows, validation, test = encoded(splits, layout, choices)
    warnings += label_warnings(schema.decision, label, y)
    warnings += direction_warnings(schema, layout, train_rows.bits, train_rows.y)
    _warn(warnings)
    if len(y) < SMALL and choices.split_by is None:
        together = train_rows.joined(validation)
        selection = by_cross_validation(
            SHAPES, layout, together, test, choices.engines, choices.timing, seed
        )
    else:
        selection = by_validation(
            SHAPES, layout, train_rows, validation, test, choices.engines, choices.timing
        )
    print(selection.method)
    print(table(selection.entries, selection.reference_auc))
    chosen = selection.chosen
    ruled = apply_rule(
        choices.rule,
        choices.calibration,
        schema.decision.scale,
        chosen.booster,
        chosen.margins,
        selection.unseen,
        schema.decision.refer_below,
    )
    if ruled.refer_below != schema.decision.refer_below:
        decision = schema.decision.model_copy(update={"refer_below": ruled.refer_below})
        schema = schema.model_copy(update={"decision": decision})
        layout = Layout(schema)
    program = chosen.decide
    if ruled.shift or ruled.refer_below is not None:
        bits = chosen.entry.score_bits
        program = decision_program(ruled.booster, layout, selection.trained_on.bits, bits)
    opened = program.scores(test.bits)
    scores = opened[:, 0]
    found = outcomes(test.y, scores >= 0, referred_rows(opened))
    late = result_warnings(found)
    _warn(late)
    reference = selection.reference - ruled.shift
    auc = auc_of(test.y, scores)
    deciles = score_table(ruled, schema.decision.scale, scores / program.scale, test.y)
    metrics: dict[str, Any] = {
        "booster_sha256": hashlib.sha256(ruled.booster).hexdigest(),
        "shape": chosen.entry.name,
        "selection": selection.method,
        "data": {
            "source": (
                "files given with --data"
                if data
                else f"synthetic ({synthetic_source(schema.name).file})"
            ),
            "target": label,
            "rows": len(frame),
            "drawn": None if data else rows,
            "seed": seed,
            "approved_share": float(np.mean(y)),
            "split": _split_text(selection, choices),
            "split_by": choices.split_by,
            "reference_date": choices.reference and choices.reference.isoformat(),
            "weights": choices.weights,
            "class_weight": choices.class_weight,
        },
        "test": {
            "rows": len(test.y),
            "reference_auc": float(roc_auc_score(test.y, reference)),
            "reference_accuracy": float(accuracy_score(test.y, reference > 0)),
            "auc": auc.value,
            "auc_interval": auc.interval,
            "accuracy": float(accuracy_score(test.y, scores >= 0)),
            "score_bits": program.score_bits,
            **found,
        },
        "decision_rule": ruled.facts,
        "calibration": None if ruled.calibration is None else ruled.calibration.document(),
        "cut_offs": ruled.cut_offs,
        "scores": deciles,
        "monotone": monotone_facts(require_monotone(program, layout)),
        "warnings": warnings + late,
        **metrics_of_validation(
            layout,
            LabelledRows(test.bits, test.y, "test rows", splits.test.frame),
            (selection.trained_on.bits, selection.trained_on.y),
            program,
            ruled.booster,
            ruled.calibration,
        ),
    }
    # Private, because it holds training rows.
    claim_folder(out, PURPOSE, setting="--out", made_earlier=made_earlier)
    (out / "schema.json").write_text(json.dumps(schema.model_dump(mode="json"), indent=2) + "\n")
    (out / "booster.json").write_bytes(ruled.booster)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    write_rows(out, selection.trained_on.bits, selection.trained_on.y)
    save(selection.entries, selection.reference_auc, out)
    print(ruled.text())
    print(outcomes_text(found, len(test.y)))
    print(score_table_text(deciles))
    print(
        f"Chosen: {chosen.entry.name}; test AUC {auc} "
        f"(reference {metrics['test']['reference_auc']:.4f}); written to {out}"
    )


def _require_trainable(
    schema: Schema, data: list[Path] | None, target: str | None, choices: Choices
) -> None:
    """Raise TrainingDataInvalid for a schema or options that cannot be trained with."""
    if schema.zero_is_missing:
        raise TrainingDataInvalid(
            "The schema sets zero_is_missing, which is for boosters trained elsewhere on a sparse "
            "matrix. Models are trained here on dense bits, so remove it from the schema."
        )
    require_consistent(schema)
    zone = schema.decision.refer_below is not None or choices.rule.deny_from is not None
    if zone and CONCRETE_ENGINES.intersection(choices.engines):
        raise TrainingDataInvalid(
            "The engines concrete and concrete_ml cannot refer applications to a person: train "
            "with --engines levelled, or without --refer-between and decision.refer_below."
        )
    if choices.extra and len(data or ()) != 1:
        raise TrainingDataInvalid(
            "--weights and --split-by name columns of one CSV file; give it with --data."
        )
    if (target or schema.decision.target) in choices.extra:
        raise TrainingDataInvalid(
            "--weights and --split-by cannot name the label; name another column."
        )


def _split_text(selection: Selection, choices: Choices) -> str:
    if choices.split_by is not None:
        return (
            f"by {choices.split_by}: the newest 20 % test, the 20 % before them validation, the "
            "rest training."
        )
    if selection.trained_on is selection.unseen:
        return "80 % cross-validation and training, 20 % test."
    return "60 % training, 20 % validation, 20 % test."


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(printable(f"training.train: warning: {warning}"), file=sys.stderr)


def write_rows(folder: Path, bits: Bits, y: Labels) -> None:
    """Write the rows that compiling needs: `bits` (rows, n_bits) and labels `y` (rows,).

    They serve for the rounding and for Concrete ML, and stay in this folder.
    """
    np.savez_compressed(folder / _ROWS, bits=np.packbits(bits, axis=1), y=y)


def made_earlier(folder: Path) -> bool:
    """Return True for a trained model of an earlier version, which did not mark its folder."""
    return {path.name for path in folder.iterdir()} == _FILES


def _require_writable(folder: Path) -> None:
    """Raise OSError if the folder cannot be created or written; changes nothing."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def encoded(splits: Splits, layout: Layout, choices: Choices) -> list[Rows]:
    """Return the three parts as bits, labels and weights; raises TrainingDataInvalid."""

    def rows(part: Part) -> Rows:
        population = None
        if choices.weights is not None:
            population = sample_weights(part.frame[choices.weights], choices.weights)
        weights = population
        if choices.class_weight is not None:
            weights = class_weights(choices.class_weight, part.y)
            weights = weights if population is None else weights * population
        return Rows(layout.encode_frame(part.frame), part.y, weights, population)

    return [rows(splits.train), rows(splits.validation), rows(splits.test)]


if __name__ == "__main__":
    run_command(main)
