"""`python -m training.alternatives`: search for a less discriminatory alternative to a model.

Fits other shapes, and models without an input or with half of its cut points, and prints AUC
against the lowest impact ratio of all audited groups, with 95 % intervals, on the test rows.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from features.encoding import Layout
from features.schema import Schema
from settings import ROOT
from training.data import Part as Rows
from training.data import reference_date, training_frame
from training.library import LibraryModel
from training.models import REFERENCE, SHAPES, Shape
from training.report.alternatives import Bounds, Measured, Part, Search, pareto_set, table
from training.report.groups import audited_columns, audited_groups
from training.report.plots import alternatives_plot
from training.time_split import split_rows
from training.train import MODEL_FOLDER
from utils.atomic_files import PRIVATE_FOLDER, write_atomic
from utils.errors import DeploymentMissing, TrainingDataInvalid, TrisealError
from utils.one_line import in_one_line
from utils.strict_json import parse_json
from utils.terminal import print_any_text

OUT = ROOT / "build" / "alternatives"
ALTERNATIVES, PLOT = "alternatives.json", "alternatives.png"
_MOST_BYTES = 64 << 20


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = CommandParser(
        prog="training.alternatives",
        description=__doc__,
    )
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="folder of the model")
    parser.add_argument(
        "--data", type=Path, nargs="+", help="files that the model was trained on, if any"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the table and its plot")
    parser.add_argument("--rounds", type=int, default=3, help="changes of inputs at once, at most")
    parser.add_argument("--fits", type=int, default=100, help="models that are fitted, at most")
    parser.add_argument(
        "--loss", type=float, default=0.02, help="loss of validation AUC that the search accepts"
    )
    options = parser.parse_args(arguments)
    try:
        bounds = Bounds(options.rounds, options.fits, options.loss)
        models = search(options.model, options.data, bounds)
        write(models, options.out)
    except (TrisealError, OSError) as error:
        print(f"training.alternatives: {in_one_line(error)}", file=sys.stderr)
        return 1
    print(table(models))
    print(
        "Alternatives are trained on 60 % of the rows and chosen on 20 %. Below 2,000 rows the "
        "trained model had both parts: compare alternatives with its shape without changes."
    )
    print(f"Written to {options.out}")
    return 0


def search(model: Path, data: list[Path] | None, bounds: Bounds) -> list[Measured]:
    """Return the trained model in a folder and its alternatives, in the order of the search.

    Raises DeploymentMissing without a trained model, TrainingDataInvalid, FeatureError and
    ModelError.
    """
    schema = Schema.load(model / "schema.json")
    booster, metrics = _booster(model), _metrics(model)
    if not audited_columns(schema):
        raise TrainingDataInvalid(
            'The schema names no column to audit: list columns in "audit", or add "audit_columns".'
        )
    recorded = metrics["data"]
    if recorded["drawn"] is None and not data:
        raise TrainingDataInvalid(
            "The model was trained on files: name the same files with --data."
        )
    layout = Layout(schema)
    by, seed = recorded.get("split_by"), recorded["seed"]
    extra = [] if by is None else [by]
    read = (schema, data, recorded["target"], recorded["drawn"] or 0, seed, extra)
    frame, y = training_frame(*read, reference=reference_date(recorded))
    parts = split_rows(frame, y, seed, by)
    searched = Search(
        layout,
        (layout.encode_frame(parts.train.frame), parts.train.y),
        _part(layout, parts.validation),
        _part(layout, parts.test),
        LibraryModel(booster, schema).log_odds,
        _shape(str(metrics.get("shape"))),
        bounds,
    )
    steps = tqdm(searched.models(), desc="alternatives", unit="model", leave=False)
    models = list(steps)
    marks = pareto_set(models)
    return [replace(m, pareto=mark) for m, mark in zip(models, marks, strict=True)]


def write(models: list[Measured], out: Path) -> None:
    """Write the models as JSON, and their plot, to folder `out`; raises OSError."""
    out.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    document = {"format": 1, "models": [model.to_json() for model in models]}
    write_atomic(out / ALTERNATIVES, (json.dumps(document, indent=2) + "\n").encode())
    write_atomic(out / PLOT, alternatives_plot(models))


def _part(layout: Layout, rows: Rows) -> Part:
    bits = layout.encode_frame(rows.frame)
    return Part(bits, rows.y, audited_groups(layout, bits, rows.frame))


def _booster(model: Path) -> bytes:
    path = model / "booster.json"
    try:
        if path.stat().st_size <= _MOST_BYTES:
            return path.read_bytes()
    except OSError as error:
        raise DeploymentMissing(
            f"There is no trained model in {model}; run `make train` first."
        ) from error
    raise DeploymentMissing(f"{path} is larger than {_MOST_BYTES >> 20} MiB, so it is no model.")


def _metrics(model: Path) -> dict[str, Any]:
    """Return the metrics of the training; raises DeploymentMissing if they are not its own."""
    try:
        metrics = parse_json((model / "metrics.json").read_bytes())
        if {"target", "drawn", "seed"} <= set(metrics["data"]):
            return dict(metrics)
    except (OSError, ValueError, LookupError, TypeError):
        pass
    raise DeploymentMissing(
        f"{model} has no metrics.json of a training, which says how its rows were divided. Train "
        "the model here to search for alternatives."
    )


def _shape(name: str) -> Shape:
    """Return the shape of a trained model; the reference's for a model of another kind."""
    return next((shape for shape in SHAPES if shape.name == name), REFERENCE)


if __name__ == "__main__":
    run_command(main)
