"""The schema of an imported model: the given schema with the model's cut points.

`cuts` may be absent from the given file. Everything else stays, except what depends on the cuts:
steps of explanations move to the nearest cuts. `explanation.monotone` becomes false, because no
constraint was part of the training.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.schema import MAXIMUM_BINS, MAXIMUM_SCHEMA_BYTES, OrdinalColumn, Schema
from training.imported.cut_points import CutPoints, cut_points
from training.imported.ensemble import NumericSplit, SourceModel
from training.imported.features import Binding
from utils.errors import ModelTooLarge, SchemaInvalid
from utils.regular_files import read_regular
from utils.strict_json import parse_json


def load_schema(path: Path) -> Schema:
    """Read a schema whose ordinal columns may lack `cuts`; raises SchemaInvalid."""
    try:
        found = read_regular(path, MAXIMUM_SCHEMA_BYTES + 1)
        if found is None or len(found[0]) > MAXIMUM_SCHEMA_BYTES:
            raise SchemaInvalid(f"{path} is not a file of at most 1 MiB; name a schema file.")
        document = parse_json(found[0])
    except (OSError, ValueError) as error:
        raise SchemaInvalid(f"{path} cannot be read as a JSON schema: {error}") from error
    for column in _ordinal_columns(document):
        if not column.get("cuts") and "maximum" in column:
            column["cuts"] = [column["maximum"]]
    schema = Schema.parse(document, str(path))
    if schema.zero_is_missing:
        raise SchemaInvalid(
            f"{path} sets zero_is_missing, which is for boosters on the schema's bits; remove it."
        )
    return schema


def _ordinal_columns(document: Any) -> list[dict[str, Any]]:
    parties = document.get("parties") if isinstance(document, dict) else None
    lists = (
        [p.get("columns") for p in parties or () if isinstance(p, dict)]
        if isinstance(parties, list)
        else []
    )
    columns = [c for own in lists if isinstance(own, list) for c in own if isinstance(c, dict)]
    return [column for column in columns if column.get("kind") == "ordinal"]


def model_cuts(
    model: SourceModel,
    schema: Schema,
    bindings: dict[int, Binding],
    data: pd.DataFrame | None,
    coarsen: int | None,
) -> dict[str, CutPoints]:
    """Return the cut points of every ordinal column; raises ModelTooLarge for too many."""
    splits: dict[str, list[NumericSplit]] = defaultdict(list)
    for split in model.splits():
        if isinstance(split, NumericSplit):
            splits[bindings[split.feature].column.name].append(split)
    cuts = {
        column.name: cut_points(
            column,
            splits[column.name],
            None if data is None else np.asarray(pd.to_numeric(data[column.name]), np.float64),
            coarsen,
        )
        for column in schema.columns()
        if isinstance(column, OrdinalColumn)
    }
    large = [
        f"{name} ({len(own.cuts) + 1})"
        for name, own in cuts.items()
        if len(own.cuts) >= MAXIMUM_BINS
    ]
    if large:
        raise ModelTooLarge(
            f"The model divides {', '.join(large)} into more than {MAXIMUM_BINS} bins. Add "
            "--coarsen 64 (or 32, or 16), which merges cut points and prints the loss, or train "
            "with at most 63 thresholds a column (max_bin=63)."
        )
    return cuts


def schema_with_cuts(schema: Schema, cuts: dict[str, CutPoints]) -> Schema:
    """Return the schema with other cut points; raises SchemaInvalid."""
    document = schema.model_dump(mode="json")
    for column in _ordinal_columns(document):
        column["cuts"] = list(cuts[column["name"]].cuts)
    explanation = document["explanation"] | {"monotone": False}
    for varied in (explanation, *explanation.get("alternatives", ())):
        if varied.get("steps"):
            varied["steps"] = _nearest(varied["steps"], cuts[varied["column"]].cuts)
    return Schema.parse(document | {"explanation": explanation}, "the schema with the model's cuts")


def _nearest(steps: list[float], cuts: tuple[float, ...]) -> list[float]:
    return sorted({min(cuts, key=lambda cut: abs(cut - step)) for step in steps})
