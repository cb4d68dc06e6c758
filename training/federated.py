"""`python -m training.federated`: make a model folder of a model that several lenders trained.

Takes the folder of the coordinator's or a lender's agent with a finished training, and a CSV file
with rows of whoever compiles the model. Writes the folder that `training.compile` takes. The rows
choose the rounding of the encrypted scores and measure the model; they change no tree.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.metrics import accuracy_score, roc_auc_score

from engines.interface import DECIDE
from features.encoding import Bits
from features.records import read_records
from federated.agents.member_agent import BOOSTER, RECORD
from federated.boosting.rows import validation_rows
from federated.protocol.record import Record
from model.booster import MAXIMUM_TREES, parse_booster
from training.deployment_folder import KEPT
from training.frontier import NARROWEST, programs_for
from training.library import LibraryModel
from training.report.validation import LabelledRows, metrics_of_validation
from training.train import MODEL_FOLDER, PURPOSE, made_earlier, write_rows
from utils.atomic_files import write_atomic
from utils.errors import RecordInvalid, TrainingDataInvalid, TrainingUnfinished, TrisealError
from utils.marked_folder import claim_folder, require_ours
from utils.one_line import in_one_line
from utils.regular_files import read_regular
from utils.terminal import print_any_text, printable

MOST_BYTES = 32 << 20
"""Largest file of a finished training."""
LEAST_ROWS = 50
"""Fewest rows, of each kind, that choose the rounding and that measure the model."""
_PROOF_SECONDS = 4.0


@dataclass(frozen=True)
class FinishedRun:
    """A finished training: its record, its booster, and the SHA-256 of the record's file."""

    record: Record
    booster: bytes
    digest: str


@dataclass(frozen=True)
class OwnRows:
    """Rows as `bits` (rows, n_bits) with `y` (rows,), 1 = approved.

    `held_out` (rows,) is true for rows that no tree was grown on, at any lender. Without
    validation rows in the plan, it is true for all rows, and `unseen` is false.
    """

    bits: Bits
    y: NDArray[np.int8]
    held_out: NDArray[np.bool_]
    unseen: bool


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = CommandParser(prog="training.federated", description=__doc__)
    parser.add_argument(
        "--run",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of an agent with a finished training (its --home)",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="own rows (CSV)")
    parser.add_argument("--target", help="label column; the schema's by default")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER, help="folder for the model")
    options = parser.parse_args(arguments)
    try:
        run = read_run(options.run)
        rows = read_own_rows(options.data, run.record, options.target)
        metrics = write_model(run, rows, options.out, options.target)
    except (TrisealError, OSError) as error:
        print(f"training.federated: {in_one_line(error)}", file=sys.stderr)
        return 1
    print(
        f"{metrics['shape']}; record {run.digest[:16]}; AUC {metrics['test']['auc']:.4f} on "
        f"{metrics['test']['rows']} own rows; written to {options.out}"
    )
    return 0


def read_run(folder: Path) -> FinishedRun:
    """Read a finished training from an agent's folder.

    Raises TrainingUnfinished if it has none, and RecordInvalid if its files are damaged or do not
    belong together.
    """
    text, booster = (_content(folder / name) for name in (RECORD, BOOSTER))
    try:
        record = Record.model_validate_json(text)
    except ValidationError as error:
        raise RecordInvalid(
            f"{folder / RECORD} is damaged, or was written by another version. Copy it again from "
            "another lender of the training; all have the same."
        ) from error
    trees = len(parse_booster(booster, record.plan.layout).trees)
    if trees != record.kept or not 0 < record.kept <= len(record.trees) <= MAXIMUM_TREES:
        raise RecordInvalid(
            f"{folder / BOOSTER} has {trees} trees, and the record says {record.kept}: the files "
            "are of different trainings, or the training has kept no tree. Copy both from the same "
            "agent."
        )
    return FinishedRun(record, booster, hashlib.sha256(text).hexdigest())


def _content(path: Path) -> bytes:
    try:
        found = read_regular(path, MOST_BYTES + 1)
    except FileNotFoundError:
        raise TrainingUnfinished(
            f"There is no {path.name} in {path.parent}. Name the --home of a coordinator or lender "
            "whose training is finished."
        ) from None
    if found is None or len(found[0]) > MOST_BYTES:
        raise RecordInvalid(
            f"{path} is not a file of at most {MOST_BYTES >> 20} MiB; copy it again from the agent."
        )
    return found[0]


def read_own_rows(path: Path, record: Record, target: str | None = None) -> OwnRows:
    """Read the rows of whoever compiles the model, and find those that no tree was grown on.

    The plan's seed decides by a row's content (federated/boosting/rows.py), so that this is the
    same for a row of this file and an equal one of a lender. Raises TrainingDataInvalid.
    """
    layout, plan = record.plan.layout, record.plan
    notes: list[str] = []
    records = read_records(path, layout, target, notes)
    for note in notes:
        print(printable(f"note: {note}"))
    y = records.outcomes.astype(np.int8)
    held_out = validation_rows(plan.seed, plan.validation_share, records.states.T, y)
    unseen = plan.validation_share > 0
    if not unseen:
        held_out = np.ones(len(y), np.bool_)
    calibration = held_out if not unseen else ~held_out
    fewest = min(int(calibration.sum()), int(held_out.sum()))
    if fewest < LEAST_ROWS or len(set(y[held_out].tolist())) < 2:
        raise TrainingDataInvalid(
            f"{path} has {len(y)} rows, of which {int(held_out.sum())} can measure the model. "
            f"Give more rows, with both outcomes: at least {LEAST_ROWS} to measure the model and "
            f"{LEAST_ROWS} to choose the rounding."
        )
    first = np.array([code.first_state for code in layout.codes])
    return OwnRows(layout.bits_of_states(records.states + first), y, held_out, unseen)


def write_model(
    run: FinishedRun, rows: OwnRows, out: Path, target: str | None = None
) -> dict[str, Any]:
    """Write schema, booster, rows and metrics to `out`; returns the metrics.

    Raises FolderNotOurs if `out` holds anything but a trained model, ModelError, and OSError.
    """
    require_ours(out, PURPOSE, setting="--out", made_earlier=made_earlier)
    plan = run.record.plan
    calibration = rows.bits[~rows.held_out] if rows.unseen else rows.bits
    labels = rows.y[~rows.held_out] if rows.unseen else rows.y
    metrics = metrics_of(run, rows, calibration, target)
    claim_folder(out, PURPOSE, setting="--out", made_earlier=made_earlier)
    for name in KEPT:  # of a model that was here before
        (out / name).unlink(missing_ok=True)
    schema = json.dumps(plan.schema_.model_dump(mode="json"), indent=2) + "\n"
    write_atomic(out / "schema.json", schema.encode())
    write_atomic(out / "booster.json", run.booster)
    write_rows(out, calibration, labels)
    write_atomic(out / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    return metrics


def metrics_of(
    run: FinishedRun, rows: OwnRows, calibration: Bits, target: str | None = None
) -> dict[str, Any]:
    """Return the metrics for the model card: the data, the quality and the outcomes of groups."""
    plan, layout = run.record.plan, run.record.plan.layout
    schema = plan.schema_
    bits, y = rows.bits[rows.held_out], rows.y[rows.held_out]
    margins = LibraryModel(run.booster, schema).log_odds(bits)
    decide = programs_for(
        run.booster, layout, calibration, NARROWEST, _PROOF_SECONDS, reasons=False
    )[DECIDE]
    scores = decide.scores(bits)[:, 0]
    lenders = trees_by_lender(run.record)
    return {
        "booster_sha256": hashlib.sha256(run.booster).hexdigest(),
        "shape": f"{run.record.kept} trees of depth {plan.depth}, trained by {len(lenders)} "
        "lenders together",
        "data": {
            "source": "rows of whoever compiled the model (--data)",
            "target": target or schema.decision.target,
            "rows": len(rows.y),
            "drawn": None,
            "seed": plan.seed,
            "approved_share": float(np.mean(rows.y)),
        },
        "federated": {
            "training": run.record.training_id,
            "record_sha256": run.digest,
            "plan_sha256": plan.digest(),
            "lenders": lenders,
            "training_rows": run.record.usable.rows,
            "trees_ended_early": sum(t.ended_early for t in run.record.trees[: run.record.kept]),
            "validation_auc": run.record.auc,
            "validation_share": plan.validation_share,
        },
        "test": {
            "rows": len(y),
            "reference_auc": float(roc_auc_score(y, margins)),
            "reference_accuracy": float(accuracy_score(y, margins > 0)),
            "auc": float(roc_auc_score(y, scores)),
            "accuracy": float(accuracy_score(y, scores >= 0)),
            "score_bits": decide.score_bits,
        },
        # No lender's training rows are known here, so there is no stability.
        **metrics_of_validation(
            layout, LabelledRows(bits, y, "measured rows"), None, decide, run.booster
        ),
    }


def trees_by_lender(record: Record) -> dict[str, int]:
    """Return, for each lender, the number of the model's trees that were grown on its rows."""
    found = Counter(name for tree in record.trees[: record.kept] for name in tree.lenders)
    return {name: found[name] for name in sorted(found)}


if __name__ == "__main__":
    run_command(main)
