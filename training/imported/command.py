"""Make a model folder of a model that was trained elsewhere on raw columns.

Takes XGBoost's JSON, LightGBM's text or JSON, or a scikit-learn gradient boosting classifier saved
by skops, and a schema that says which party has which column. The model's own thresholds become the
cut points of the schema, which are public. Writes the folder that `training.compile` takes, and
checks that it decides like the model on 1,000 rows over the whole domain and on the rows of --data.
"""

from __future__ import annotations

from utils.command_line import CommandParser

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from features.schema import Schema
from model.booster import MAXIMUM_TREES, Ensemble, parse_booster
from model.booster_json import booster_json
from model.horner import external_products
from model.quantise import real_polynomial
from settings import ROOT
from training.data import training_frame
from training.deployment_folder import KEPT
from training.imported.bit_trees import BitTrees
from training.imported.comparison import Comparer, Comparison, domain_frame
from training.imported.cut_points import CutPoints
from training.imported.ensemble import SourceModel
from training.imported.features import Binding, bind
from training.imported.schema_of_model import load_schema, model_cuts, schema_with_cuts
from training.imported.source_file import read_source
from training.train import write_rows
from utils.atomic_files import write_atomic
from utils.errors import ImportRefused, ModelTooLarge, TrisealError
from utils.marked_folder import claim_folder, require_ours
from utils.one_line import in_one_line
from utils.terminal import print_any_text, printable

IMPORT_FOLDER = ROOT / "build" / "imported"
PURPOSE = "imported model"
CHECK = "import_check.json"
COARSENINGS = (16, 32, 64)
APPROVED, DENIED = "approved", "denied"
MOST_TERMS = 5000
"""Most terms of a model; engines refuse smaller ones for their noise, after minutes of work."""
_CALIBRATION_ROWS = 4000


@dataclass(frozen=True)
class Imported:
    """A model over the bits of `layout`, and its comparison with the source.

    `bits` (rows, n_bits) and `y` (rows,) are the rows that choose the rounding of scores. `notes`
    are sentences for a person. A decision has `terms` terms and needs `products` products of
    ciphertexts on the engine levelled.
    """

    layout: Layout
    booster: bytes
    ensemble: Ensemble
    bits: Bits
    y: NDArray[np.int8]
    cuts: dict[str, CutPoints]
    domain: Comparison
    data: Comparison | None
    notes: tuple[str, ...]
    terms: int
    products: int


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    parser = CommandParser(prog="training.import", description=__doc__)
    parser.add_argument(
        "--booster", type=Path, required=True, metavar="FILE", help="the model file"
    )
    parser.add_argument(
        "--schema",
        type=Path,
        required=True,
        metavar="FILE",
        help="schema file (JSON); its cuts are replaced and may be absent",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="rows with outcomes (CSV), to compare on, to round scores by and to choose readable "
        "cut points; rows drawn over the domain by default",
    )
    parser.add_argument("--target", help="label column of --data; the schema's by default")
    parser.add_argument(
        "--coarsen",
        type=int,
        choices=COARSENINGS,
        help="merge cut points to at most this many bins a column; all are kept by default",
    )
    parser.add_argument(
        "--positive",
        choices=(APPROVED, DENIED),
        help="the decision that the model's class 1 means; by default found from the schema's "
        "approved_value",
    )
    parser.add_argument("--out", type=Path, default=IMPORT_FOLDER, help="folder for the model")
    options = parser.parse_args(arguments)
    try:
        require_ours(options.out, PURPOSE, setting="--out")
        model, content = read_source(options.booster)
        schema = load_schema(options.schema)
        frame, y = _data(schema, options.data, options.target)
        found = import_model(model, schema, frame, y, options.coarsen, options.positive)
        write_import(found, model, content, options.out)
    except (TrisealError, OSError) as error:
        print(f"training.import: {in_one_line(error)}", file=sys.stderr)
        return 1
    print(printable(report(found, model, options.coarsen)))
    print(f"Written to {options.out}; compile it with training.compile --model {options.out}")
    return 0


def _data(
    schema: Schema, path: Path | None, target: str | None
) -> tuple[pd.DataFrame | None, NDArray[np.int8] | None]:
    if path is None:
        return None, None
    return training_frame(schema, [path], target, 0, 0)


def import_model(
    model: SourceModel,
    schema: Schema,
    frame: pd.DataFrame | None = None,
    y: NDArray[np.int8] | None = None,
    coarsen: int | None = None,
    positive: str | None = None,
) -> Imported:
    """Return the model over the bits of the schema with the model's cut points.

    `frame` has rows of the schema's columns, and `y` (rows,) is 1 for approved. Raises
    ImportRefused, ModelTooLarge, FeatureError.
    """
    if len(model.trees) > MAXIMUM_TREES:
        raise ModelTooLarge(
            f"{len(model.trees)} trees are more than {MAXIMUM_TREES}; train fewer, with a higher "
            "learning rate."
        )
    notes: list[str] = []
    sign = _sign(model, schema, positive, notes)
    bindings = bind(model, schema, notes)
    cuts = model_cuts(model, schema, bindings, frame, coarsen)
    layout = Layout(schema_with_cuts(schema, cuts))
    trees = BitTrees(model, layout, bindings, cuts, sign).node_lists()
    booster = booster_json(trees, layout.n_bits)
    ensemble = parse_booster(booster, layout)
    terms = list(real_polynomial(ensemble, layout))
    if len(terms) > MOST_TERMS:
        raise ModelTooLarge(
            f"The model has {len(terms)} terms over the schema's bits, and {MOST_TERMS} are the "
            "most; train fewer or shallower trees, or add --coarsen 16."
        )
    comparer = Comparer(model, bindings, sign, ensemble, layout)
    drawn = domain_frame(layout, seed=19, rounded=frame is not None)
    domain = comparer.compare(drawn, layout.encode_frame(drawn))
    merged = any(own.merged for own in cuts.values())
    if not merged:
        comparer.require_equal(domain, "rows over the domain")
    data = None
    if frame is not None and y is not None:
        bits = layout.encode_frame(frame)
        data = comparer.compare(frame, bits, y)
        if positive is None and data.source_auc is not None and data.source_auc < 0.5:
            raise ImportRefused(
                f"On --data, the model's score of approval has an AUC of {data.source_auc:.2f}, so "
                "its class 1 means the other decision, or --target is another label. Say with "
                "--positive approved or --positive denied what class 1 means."
            )
        if not merged:
            comparer.require_equal(data, "the rows of --data")
    else:
        drawn = domain_frame(layout, 20, _CALIBRATION_ROWS)
        bits = layout.encode_frame(drawn)
        y = (comparer.source_log_odds(drawn) > 0).astype(np.int8)
    _note_unused(bindings, schema, notes)
    size = (len(terms), external_products(terms))
    return Imported(layout, booster, ensemble, bits, y, cuts, domain, data, tuple(notes), *size)


def _sign(model: SourceModel, schema: Schema, positive: str | None, notes: list[str]) -> int:
    """Return 1 if the model's second class means approval, and -1 if it means denial."""
    value = schema.decision.approved_value
    if positive is None:
        labels = model.labels or ("0", "1")
        matches = [i for i, label in enumerate(labels) if label in (str(value), f"{value}.0")]
        if not matches:
            raise ImportRefused(
                f"The schema's approved_value {str(value)[:40]!r} is none of the model's classes, "
                f"{labels[0][:40]!r} and {labels[1][:40]!r}. Say with --positive approved or "
                f"--positive denied which decision class {labels[1][:40]!r} means."
            )
        positive = APPROVED if matches[0] == 1 else DENIED
    second = model.labels[1] if model.labels else "1"
    notes.append(f"The model's class {second} means {positive}.")
    return 1 if positive == APPROVED else -1


def _note_unused(bindings: dict[int, Binding], schema: Schema, notes: list[str]) -> None:
    used = {binding.column.name for binding in bindings.values()}
    unused = [column.name for column in schema.columns() if column.name not in used]
    if unused:
        notes.append(
            f"The model never uses {', '.join(unused)}; leave such columns out of the schema, so "
            "that no party has to give them."
        )


def write_import(found: Imported, model: SourceModel, content: bytes, out: Path) -> None:
    """Write the folder that `training.compile` takes; raises FolderNotOurs and OSError.

    The folder is private, because the rows of --data are in it.
    """
    claim_folder(out, PURPOSE, setting="--out")
    for name in ("booster.json", *KEPT):  # an import that is interrupted leaves no model
        (out / name).unlink(missing_ok=True)
    schema = json.dumps(found.layout.schema.model_dump(mode="json"), indent=2) + "\n"
    write_atomic(out / "schema.json", schema.encode())
    write_rows(out, found.bits, found.y)
    check = json.dumps(check_document(found, model, content), indent=2) + "\n"
    write_atomic(out / CHECK, check.encode())
    write_atomic(out / "booster.json", found.booster)


def check_document(found: Imported, model: SourceModel, content: bytes) -> dict[str, Any]:
    """Return the record of the import: the source, the cut points and the comparison."""
    return {
        "source": model.source,
        "source_sha256": hashlib.sha256(content).hexdigest(),
        "booster_sha256": hashlib.sha256(found.booster).hexdigest(),
        "trees": len(model.trees),
        "terms": found.terms,
        "products": found.products,
        "bins": {name: len(own.cuts) + 1 for name, own in found.cuts.items()},
        "merged_cuts": {name: own.merged for name, own in found.cuts.items() if own.merged},
        "domain": found.domain.document(),
        "data": None if found.data is None else found.data.document(),
        "notes": list(found.notes),
    }


def report(found: Imported, model: SourceModel, coarsen: int | None) -> str:
    """Return a few sentences for a person on the import."""
    bins = ", ".join(f"{name} {len(own.cuts) + 1}" for name, own in found.cuts.items())
    lines = [
        f"{model.source}: {len(model.trees)} trees over {found.layout.n_bits} bits, "
        f"{found.terms} terms, {found.products} products of ciphertexts for a decision.",
        *found.notes,
        f"Bins by column: {bins or 'no ordinal columns'}. The cut points are thresholds of the "
        "model and become public with the schema"
        + ("." if coarsen else "; --coarsen 16, 32 or 64 merges some of them."),
    ]
    merged = sum(own.merged for own in found.cuts.values())
    if merged:
        lines.append(f"{merged} cut points were merged into others (--coarsen {coarsen}).")
    lines.append(_sentence(found.domain, "rows drawn over the whole domain"))
    if found.data is not None:
        lines.append(_sentence(found.data, "rows of --data"))
    return "\n".join(lines)


def _sentence(found: Comparison, which: str) -> str:
    text = (
        f"Of {found.rows - found.outside} {which}, {found.changed} "
        f"({found.changed / max(1, found.rows - found.outside):.2%}) are decided otherwise than by "
        f"the source, and {found.near_ties} lie within 1e-6 of its cut-off; log-odds differ by up "
        f"to {found.largest_difference:.2g}."
    )
    if found.outside:
        text += (
            f" {found.outside} further rows have values that the schema clips or groups, and are "
            "not compared."
        )
    if found.auc is not None and found.source_auc is not None:
        text += (
            f" AUC {found.auc:.4f}, of the source {found.source_auc:.4f} "
            f"(loss {found.source_auc - found.auc:.4f})."
        )
    return text
