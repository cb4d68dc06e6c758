"""XGBoost models on raw columns, in the JSON format of versions 1.6 to 3.2.

Format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html. At a split, values
below the limit go to the left, in single precision; of a categorical split, the listed categories
go to the right. From version 3.1 on, the file has the categories' names.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from model.booster_header import Header, read_header
from training.imported.ensemble import (
    CategorySplit,
    Feature,
    Node,
    NumericSplit,
    SourceModel,
    TreeBuilder,
    require_features,
)
from utils.errors import ImportRefused

_SAVE = "save it again with save_model('model.json')"


def read_xgboost(document: dict[str, Any]) -> SourceModel:
    """Return the model of a decoded file; raises ImportRefused, UnsupportedBooster, ModelTooLarge.

    Only the trees that `XGBClassifier.predict` uses are read.
    """
    header = read_header(document)
    try:
        return _read(document["learner"], header)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ImportRefused(
            f"The XGBoost model file has a part that cannot be read ({str(error)[:200]}); {_SAVE}."
        ) from error


def _read(learner: dict[str, Any], header: Header) -> SourceModel:
    model = learner["gradient_booster"]["model"]
    names = header.feature_names
    require_features(header.features)
    if names and len(names) != header.features:
        raise ValueError(f"{len(names)} feature names for {header.features} features")
    types = [str(kind) for kind in learner.get("feature_types") or ()]
    categories = _categories(model.get("cats") or {}, header.features)
    split_on = _categorical_features(model["trees"])
    features = tuple(
        Feature(
            names[i] if names else f"f{i}",
            (i < len(types) and types[i] == "c") or i in split_on,
            categories[i],
        )
        for i in range(header.features)
    )
    builder = TreeBuilder(header.features)
    trees = tuple(_tree(raw, builder) for raw in model["trees"][: header.used])
    base = math.log(header.base_score / (1 - header.base_score))
    return SourceModel(f"XGBoost {header.version_text}", features, bool(names), trees, base)


def _tree(raw: dict[str, Any], builder: TreeBuilder) -> Node:
    left, right = raw["left_children"], raw["right_children"]
    kinds = raw.get("split_type") or [0] * len(left)
    chosen = _chosen_categories(raw)

    def leaf(node: int) -> float | None:
        if node < 0:
            raise ValueError(f"node {node}")
        return _single(raw["split_conditions"][node]) if left[node] == -1 else None

    def inner(node: int) -> tuple[NumericSplit | CategorySplit, int, int]:
        feature, missing_left = int(raw["split_indices"][node]), bool(raw["default_left"][node])
        split: NumericSplit | CategorySplit
        if kinds[node]:
            split = CategorySplit(feature, chosen[node], False, missing_left)
        else:
            limit = _single(raw["split_conditions"][node])
            split = NumericSplit(feature, limit, False, True, missing_left)
        return split, int(left[node]), int(right[node])

    return builder.tree(0, leaf, inner)


def _single(value: Any) -> float:
    with np.errstate(over="ignore"):  # overflows to infinity, as in XGBoost
        return float(np.float32(value))


def _chosen_categories(raw: dict[str, Any]) -> dict[int, frozenset[int]]:
    """Return the categories that each categorical split sends to the right, by node."""
    codes = raw.get("categories") or ()
    if sum(raw.get("categories_sizes") or ()) > len(codes):
        raise ValueError("categories_sizes does not fit categories")
    found = {}
    for node, start, size in zip(
        raw.get("categories_nodes") or (),
        raw.get("categories_segments") or (),
        raw.get("categories_sizes") or (),
        strict=True,
    ):
        own = codes[start : start + size]
        if len(own) != size or start < 0:
            raise ValueError("categories_segments does not fit categories")
        found[int(node)] = frozenset(int(code) for code in own)
    return found


def _categorical_features(trees: list[dict[str, Any]]) -> set[int]:
    return {
        int(feature)
        for tree in trees
        for feature, kind in zip(tree["split_indices"], tree.get("split_type") or (), strict=False)
        if kind
    }


def _categories(stored: dict[str, Any], features: int) -> list[tuple[str, ...] | None]:
    """Return the names of each feature's categories, where the file has them."""
    encodings = stored.get("enc") or []
    if len(encodings) != features:
        return [None] * features
    return [_names(encoding) for encoding in encodings]


def _names(encoding: dict[str, Any]) -> tuple[str, ...] | None:
    values = encoding.get("values") or []
    if not values:
        return None
    offsets = encoding.get("offsets")
    if offsets is None:  # categories that are numbers
        return tuple(str(value) for value in values)
    data = bytes(int(value) % 256 for value in values)
    ends = [int(offset) for offset in offsets]
    if ends != sorted(ends) or any(end < 0 for end in ends[:1]):
        raise ValueError("offsets of categories do not rise")
    try:
        return tuple(data[start:end].decode() for start, end in pairwise(ends))
    except UnicodeDecodeError as error:
        raise ImportRefused(
            "The model file has names of categories that are damaged: XGBoost 3.2 stores only a "
            "part of a name outside ASCII. Train it on names in ASCII."
        ) from error
