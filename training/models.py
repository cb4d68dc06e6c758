"""Fitting XGBoost on a schema's bits, in the shapes of the frontier.

Training on the bits of the binned columns loses nothing: a split on `x >= cut` is a split on its
bit. The score is monotone in the columns for which the schema asks for it.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from model.monotone import directions, threshold_bits

Weights = NDArray[np.float64]
Labels = NDArray[np.int8]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Rows:
    """Encoded rows: `bits` (rows, n_bits), `y` (rows,) with 1 = approved.

    `weights` (rows,) are those of training; `population` (rows,) those of the rows in the
    population, without class weights. None means that all are alike.
    """

    bits: Bits
    y: Labels
    weights: Weights | None = None
    population: Weights | None = None

    def part(self, chosen: NDArray[np.int64]) -> Rows:
        """Return some of the rows, by their indices."""
        own = (None if w is None else w[chosen] for w in (self.weights, self.population))
        return Rows(self.bits[chosen], self.y[chosen], *own)

    def joined(self, other: Rows) -> Rows:
        """Return these rows and others, which are weighted alike."""
        pairs = ((self.weights, other.weights), (self.population, other.population))
        own = (None if a is None or b is None else np.concatenate([a, b]) for a, b in pairs)
        return Rows(
            np.concatenate([self.bits, other.bits]), np.concatenate([self.y, other.y]), *own
        )


@dataclass(frozen=True)
class Stage:
    """`trees` trees of one form; with `leaves` > 0 they grow leaf-wise up to that many leaves.

    With `pairs` > 0, only that many pairs of columns may interact in a tree: those with the highest
    gain in an unrestricted fit. Fewer pairs need fewer encrypted tables.
    """

    trees: int
    depth: int
    leaves: int = 0
    learning_rate: float = 0.3
    pairs: int = 0


@dataclass(frozen=True)
class Shape:
    """One entry of the frontier: stages of boosting, each of which continues the previous one."""

    name: str
    stages: tuple[Stage, ...]


REFERENCE = Shape("reference: 100 x depth 3", (Stage(100, 3, learning_rate=0.2),))

SHAPES = (
    Shape("100 x depth 1", (Stage(100, 1),)),
    Shape("100 x depth 1 + 20 x depth 2", (Stage(100, 1), Stage(20, 2))),
    Shape("100 x depth 1 + 10 x 5 leaves", (Stage(100, 1), Stage(10, 4, 5))),
    Shape("60 x depth 2, 6 pairs", (Stage(60, 2, pairs=6),)),
    Shape("150 x depth 2, 8 pairs", (Stage(150, 2, learning_rate=0.2, pairs=8),)),
    Shape("60 x depth 3, 6 pairs", (Stage(60, 3, pairs=6),)),
    Shape("40 x depth 2", (Stage(40, 2),)),
    Shape("100 x depth 2", (Stage(100, 2),)),
    Shape("40 x 5 leaves", (Stage(40, 4, 5),)),
    Shape("60 x 5 leaves", (Stage(60, 4, 5, learning_rate=0.2),)),
    Shape("40 x depth 3", (Stage(40, 3),)),
    Shape("100 x depth 3", (Stage(100, 3, learning_rate=0.2),)),
)
"""The shapes that training tries; it keeps the cheapest one that is good enough."""


def fit(
    shape: Shape,
    layout: Layout,
    bits: Bits,
    y: Labels,
    seed: int = 0,
    weights: Weights | None = None,
) -> xgboost.Booster:
    """Train one booster: `bits` (rows, n_bits), `y` and `weights` (rows,) with `y` 1 = approved."""
    data = xgboost.DMatrix(bits, y, weight=weights, nthread=1)  # idle threads would spin
    booster = None
    for stage in shape.stages:
        parameters = _parameters(stage, layout, seed)
        if stage.pairs:
            free = xgboost.train(parameters, data, stage.trees)
            kept = strongest_pairs(free, layout, stage.pairs)
            parameters["interaction_constraints"] = _constraints(kept, layout)
        booster = xgboost.train(parameters, data, stage.trees, xgb_model=booster)
    if booster is None:
        raise ValueError(f"shape {shape.name} has no stage")
    return booster


def fit_rows(shape: Shape, layout: Layout, rows: Rows) -> xgboost.Booster:
    """Train one booster on rows with their weights."""
    return fit(shape, layout, rows.bits, rows.y, weights=rows.weights)


def _parameters(stage: Stage, layout: Layout, seed: int) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": stage.depth,
        "learning_rate": stage.learning_rate,
        "seed": seed,
        "base_score": 0.5,  # fixed, because XGBoost estimates it from version 2 on
        # For small data a second thread is no faster, and a single thread is reproducible.
        "nthread": 1,
    }
    if stage.leaves:
        parameters |= {"grow_policy": "lossguide", "max_leaves": stage.leaves}
    wanted = directions(layout.schema)
    if wanted:
        signs = [0] * layout.n_bits
        for name, sign in wanted.items():
            for bit in threshold_bits(layout.code(name)):
                signs[bit] = sign
        parameters["monotone_constraints"] = f"({','.join(map(str, signs))})"
    return parameters


def strongest_pairs(booster: xgboost.Booster, layout: Layout, count: int) -> list[Pair]:
    """Return the pairs of columns (by index) with the highest gain in a tree, strongest first."""
    gains: Counter[Pair] = Counter()
    column_of = [layout.codes.index(code) for code in layout.code_of_bit]
    document = json.loads(model_json(booster))
    for tree in document["learner"]["gradient_booster"]["model"]["trees"]:
        left, right, parents = tree["left_children"], tree["right_children"], tree["parents"]
        for node, gain in enumerate(tree["loss_changes"]):
            parent = parents[node]
            if left[node] != -1 and right[node] != -1 and 0 <= parent < len(left):
                pair = sorted(column_of[tree["split_indices"][n]] for n in (parent, node))
                if pair[0] != pair[1]:
                    gains[pair[0], pair[1]] += gain
    return [pair for pair, _ in gains.most_common(count)]


def _constraints(pairs: list[Pair], layout: Layout) -> str:
    """Return XGBoost's interaction constraints: the bits of each pair and of each column."""
    groups = []
    for columns in [*pairs, *((i,) for i in range(len(layout.codes)))]:
        codes = [layout.codes[i] for i in columns]
        groups.append([c.first_bit + bit for c in codes for bit in range(c.n_bits)])
    return json.dumps(groups)


def log_odds(booster: xgboost.Booster, bits: Bits) -> NDArray[np.float64]:
    """Return the booster's margins of approval, shape (rows,)."""
    margins = booster.predict(xgboost.DMatrix(bits, nthread=1), output_margin=True)
    return np.asarray(margins, np.float64)


def model_json(booster: xgboost.Booster) -> bytes:
    """Return the booster in XGBoost's JSON format."""
    return bytes(booster.save_raw("json"))
