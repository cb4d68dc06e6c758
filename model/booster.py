"""Reading an XGBoost booster from its own JSON model format, without XGBoost and without pickle.

Every feature is one bit of a layout, so every split asks for one bit. A tree becomes the list of
its leaves, each with the bits on its path and the value that each must have.
Format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.encoding import Layout
from utils.errors import ModelTooLarge, UnsupportedBooster

MAXIMUM_DEPTH = 4
MAXIMUM_TREES = 300
MAXIMUM_BYTES = 64 << 20


@dataclass(frozen=True)
class Leaf:
    """`value` is added where every (bit, wanted) of `path` holds; `cover` is its share of data."""

    path: tuple[tuple[int, bool], ...]
    value: float
    cover: float


@dataclass(frozen=True)
class Tree:
    """The leaves of one tree; exactly one of them holds for any input."""

    leaves: tuple[Leaf, ...]


@dataclass(frozen=True)
class Ensemble:
    """A binary classifier: log-odds = base_margin + the sum of one leaf a tree."""

    trees: tuple[Tree, ...]
    base_margin: float


def read_ensemble(path: Path, layout: Layout) -> Ensemble:
    """Read a saved model file; raises UnsupportedBooster, ModelTooLarge."""
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise ModelTooLarge(f"{path} is larger than {MAXIMUM_BYTES >> 20} MiB.")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnsupportedBooster(
            f"{path} cannot be read as XGBoost's JSON model ({error}); save it with "
            "save_model('….json')."
        ) from error
    return parse_ensemble(document, layout)


def parse_ensemble(document: dict[str, Any], layout: Layout) -> Ensemble:
    """The ensemble of a decoded model file over the bits of `layout`.

    Raises UnsupportedBooster for anything but a binary logistic tree booster whose features are
    the layout's bits, and ModelTooLarge beyond depth 4 or 300 trees.
    """
    try:
        learner = document["learner"]
        objective = learner["objective"]["name"]
        booster = learner["gradient_booster"]
        kind = booster["name"]
        parameters = learner["learner_model_param"]
        n_features = int(parameters["num_feature"])
        n_classes = int(parameters.get("num_class", "0"))
        base_score = float(str(parameters["base_score"]).strip("[]"))
        raw_trees = list(booster["model"]["trees"]) if kind == "gbtree" else []
    except (KeyError, TypeError, ValueError) as error:
        raise UnsupportedBooster(
            f"The model file lacks {error}; save the booster with save_model('….json')."
        ) from error
    if kind != "gbtree" or objective != "binary:logistic" or n_classes > 1:
        raise UnsupportedBooster(
            f"Only a gbtree with objective binary:logistic can be compiled, not {kind} with "
            f"{objective}."
        )
    if n_features != layout.n_bits:
        raise UnsupportedBooster(
            f"The booster has {n_features} features but schema {layout.schema.name} encodes to "
            f"{layout.n_bits} bits; train it on Layout.encode_frame of this schema."
        )
    if len(raw_trees) > MAXIMUM_TREES:
        raise ModelTooLarge(f"{len(raw_trees)} trees are more than {MAXIMUM_TREES}; train fewer.")
    if not 0 < base_score < 1:
        raise UnsupportedBooster(f"base_score {base_score} is not a probability.")
    try:
        trees = tuple(_tree(raw, layout.n_bits) for raw in raw_trees)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UnsupportedBooster(
            f"A tree of the model file does not hold together ({error!r}); save the booster again."
        ) from error
    return Ensemble(trees, math.log(base_score / (1 - base_score)))


def _tree(raw: dict[str, Any], n_bits: int) -> Tree:
    if any(raw.get("split_type", ())):
        raise UnsupportedBooster(
            "The booster splits on categories of its own; train it on the schema's bits."
        )
    left, right = raw["left_children"], raw["right_children"]
    bits, limits = raw["split_indices"], raw["split_conditions"]
    covers = raw.get("sum_hessian", [1.0] * len(left))
    leaves: list[Leaf] = []

    def walk(node: int, path: dict[int, bool], depth: int) -> None:
        if left[node] == -1:
            value = float(limits[node])
            if not math.isfinite(value):
                raise UnsupportedBooster("A leaf is not a finite number.")
            leaves.append(Leaf(tuple(sorted(path.items())), value, float(covers[node])))
            return
        if depth == MAXIMUM_DEPTH:
            raise ModelTooLarge(
                f"A tree is deeper than {MAXIMUM_DEPTH}; train with max_depth={MAXIMUM_DEPTH}."
            )
        bit, limit = int(bits[node]), float(limits[node])
        if not (0 <= bit < n_bits and left[node] > 0 and right[node] > 0):
            raise ValueError(f"node {node} splits on no bit, or has no child")
        for wanted in (False, True):
            if path.get(bit, wanted) == wanted:  # the path may have asked for this bit already
                child = left[node] if int(wanted) < limit else right[node]
                walk(child, {**path, bit: wanted}, depth + 1)

    walk(0, {}, 0)
    return Tree(tuple(leaves))
