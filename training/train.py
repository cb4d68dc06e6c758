"""`python -m training.train`: train a model on data and write it to `build/model`.

Fits a float reference, tries the documented shapes, and keeps the cheapest one whose opened score
has a validation AUC within 0.002 of the reference. Prints and saves the frontier, with a plot.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, roc_auc_score
from tqdm import tqdm

from features.encoding import Bits, Layout
from features.schema import Schema
from settings import ROOT
from training.data import Splits, split, training_frame
from training.data_warnings import data_warnings
from training.frontier import Rows, candidate, choose, save, table
from training.group_outcomes import group_outcomes
from training.models import REFERENCE, SHAPES, Labels, fit, log_odds
from training.synthetic_sources import synthetic_source
from utils.environments import has_concrete
from utils.errors import TrainingDataInvalid, TrisealError
from utils.marked_folder import claim_folder, require_ours
from utils.one_line import in_one_line
from utils.terminal import print_any_text

DEFAULT_SCHEMA = ROOT / "features" / "credit_card.json"
MODEL_FOLDER = ROOT / "build" / "model"
TOLERANCE = 0.002
PURPOSE = "trained model"
_ROWS = "training_rows.npz"
_FILES = {"schema.json", "booster.json", "metrics.json", _ROWS, "frontier.json", "frontier.png"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = argparse.ArgumentParser(prog="training.train", description=__doc__)
    parser.add_argument("--schema", type=Path, default=DEFAULT_SCHEMA, help="schema file (JSON)")
    parser.add_argument("--data", type=Path, nargs="+", help="CSV files; synthetic data by default")
    parser.add_argument("--target", help="label column; the schema's by default")
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER, help="folder for the model")
    parser.add_argument("--rows", type=int, default=24_000, help="number of synthetic rows")
    parser.add_argument(
        "--seed", type=int, default=20, help="seed of the synthetic rows and of the split"
    )
    parser.add_argument(
        "--no-timing",
        action="store_true",
        help="skip the timed encrypted runs of every shape on Concrete",
    )
    options = parser.parse_args(arguments)
    try:
        train(
            options.schema,
            options.data,
            options.target,
            options.out,
            options.rows,
            options.seed,
            timing=has_concrete() and not options.no_timing,
        )
    except (TrisealError, OSError) as error:
        print(f"training.train: {in_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def train(
    schema_file: Path,
    data: list[Path] | None,
    target: str | None,
    out: Path,
    rows: int,
    seed: int,
    timing: bool,
) -> None:
    """Train a model and write schema, booster, training rows, metrics and frontier to `out`.

    Raises FeatureError, TrainingDataInvalid, ModelError, and FolderNotOurs if `out` holds anything
    but a trained model.
    """
    require_ours(out, PURPOSE, setting="--out", made_earlier=made_earlier)
    _require_writable(out)  # checked before minutes of work
    schema = Schema.load(schema_file)
    if schema.zero_is_missing:
        raise TrainingDataInvalid(
            "The schema sets zero_is_missing, which is for boosters trained elsewhere on a sparse "
            "matrix. Models are trained here on dense bits, so remove it from the schema."
        )
    layout = Layout(schema)
    notes: list[str] = []
    frame, y = training_frame(schema, data, target, rows, seed, notes=notes)
    for note in notes:
        print(f"note: {note}")
    inputs = frame[[column.name for column in schema.columns()]]
    for warning in data_warnings(inputs, y) if data else ():
        print(f"warning: {warning}")
    splits = split(frame, y, seed)
    fit_rows, validation, test = encoded(splits, layout)
    reference = fit(REFERENCE, layout, fit_rows.bits, fit_rows.y)
    reference_auc = float(roc_auc_score(validation.y, log_odds(reference, validation.bits)))
    candidates = []
    for shape in tqdm(SHAPES, desc="shapes", unit="shape", leave=False):
        candidates.append(candidate(shape, layout, fit_rows, validation, timing))
    entries = [c.entry for c in candidates]
    best = choose(entries, reference_auc, TOLERANCE)
    entries[best] = replace(entries[best], chosen=True)
    print(table(entries, reference_auc))
    chosen = candidates[best]
    margins = log_odds(reference, test.bits)
    scores = chosen.programs["decide"].scores(test.bits)[:, 0]
    metrics = {
        "booster_sha256": hashlib.sha256(chosen.booster).hexdigest(),
        "shape": chosen.entry.name,
        "data": {
            "source": (
                "files given with --data"
                if data
                else f"synthetic ({synthetic_source(schema.name).file})"
            ),
            "target": target or schema.decision.target,
            "rows": len(frame),
            "drawn": None if data else rows,
            "seed": seed,
            "approved_share": float(np.mean(y)),
        },
        "test": {
            "rows": len(test.y),
            "reference_auc": float(roc_auc_score(test.y, margins)),
            "reference_accuracy": float(accuracy_score(test.y, margins > 0)),
            "auc": float(roc_auc_score(test.y, scores)),
            "accuracy": float(accuracy_score(test.y, scores >= 0)),
            "score_bits": chosen.entry.score_bits,
        },
        "groups": group_outcomes(schema, layout, test.bits, test.y, scores >= 0),
    }
    # Private, because it holds training rows.
    claim_folder(out, PURPOSE, setting="--out", made_earlier=made_earlier)
    (out / "schema.json").write_text(json.dumps(schema.model_dump(mode="json"), indent=2) + "\n")
    (out / "booster.json").write_bytes(chosen.booster)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    write_rows(out, fit_rows.bits, fit_rows.y)
    save(entries, reference_auc, out)
    print(
        f"Chosen: {chosen.entry.name}; test AUC {metrics['test']['auc']:.4f} "  # type: ignore[index]
        f"(reference {metrics['test']['reference_auc']:.4f}); written to {out}"  # type: ignore[index]
    )


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


def encoded(splits: Splits, layout: Layout) -> list[Rows]:
    """Return the three parts as bits and labels."""
    return [
        Rows(layout.encode_frame(part.frame), part.y)
        for part in (splits.train, splits.validation, splits.test)
    ]


if __name__ == "__main__":
    sys.exit(main())
