"""Other ways to train on the same rows: XGBoost on all of them, on one lender's, and by bagging.

`Part`s are the training rows of the lenders. All models have the plan's parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from features.encoding import Bits
from federated.plan import Plan
from training.models import Rows, model_json

Tree = dict[str, Any]


def parameters(plan: Plan) -> dict[str, Any]:
    """Return XGBoost's parameters for a plan."""
    signs = ("1" if bit in plan.monotone else "0" for bit in range(plan.layout.n_bits))
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_depth": plan.depth,
        "learning_rate": plan.learning_rate,
        "reg_lambda": plan.reg_lambda,
        "gamma": plan.gamma,
        "min_child_weight": plan.least_hessian,
        "base_score": 0.5,
        "monotone_constraints": "(" + ",".join(signs) + ")",
        "nthread": 1,
    }


def on_all_rows(plan: Plan, parts: Sequence[Rows]) -> bytes:
    """Return XGBoost's model of all rows together, or of one part, as JSON."""
    bits = np.concatenate([part.bits for part in parts])
    y = np.concatenate([part.y for part in parts])
    return model_json(
        xgboost.train(parameters(plan), xgboost.DMatrix(bits, y, nthread=1), plan.trees)
    )


def bagged(plan: Plan, parts: Sequence[Rows]) -> bytes:
    """Return the model of bagging whole trees, as JSON: one tree of each lender in each round.

    As in the XGBoost example of Flower (flower.ai, "bagging", with its option `scaled-lr`): in each
    of `plan.trees` rounds, every lender grows one tree on its own rows, after all trees of the
    rounds before, with the learning rate divided by the number of lenders.
    """
    own = parameters(plan) | {"learning_rate": plan.learning_rate / len(parts)}
    matrices = [xgboost.DMatrix(part.bits, part.y, nthread=1) for part in parts]
    plain = [xgboost.DMatrix(part.bits, nthread=1) for part in parts]
    margins = [np.zeros(len(part.y), np.float32) for part in parts]
    trees: list[Tree] = []
    last: xgboost.Booster | None = None
    for _ in range(plan.trees):
        grown = []
        for matrix, margin in zip(matrices, margins, strict=True):
            matrix.set_base_margin(margin)
            grown.append(xgboost.train(own, matrix, 1))
        for margin, rows in zip(margins, plain, strict=True):
            for tree in grown:  # the base score 0.5 is a margin of 0
                margin += tree.predict(rows, output_margin=True)
        trees += [trees_of(model_json(tree))[0] for tree in grown]
        last = grown[-1]
    return _joined(model_json(last), trees)


def trees_of(model: bytes) -> list[Tree]:
    """Return the trees of a model in XGBoost's JSON."""
    found: list[Tree] = json.loads(model)["learner"]["gradient_booster"]["model"]["trees"]
    return found


def _joined(model: bytes, trees: Sequence[Tree]) -> bytes:
    """Return the model with these trees instead of its own."""
    document = json.loads(model)
    own = document["learner"]["gradient_booster"]["model"]
    own["trees"] = [{**tree, "id": number} for number, tree in enumerate(trees)]
    own["tree_info"] = [0] * len(trees)
    own["iteration_indptr"] = list(range(len(trees) + 1))
    own["gbtree_model_param"]["num_trees"] = str(len(trees))
    return json.dumps(document).encode()


def log_odds(model: bytes, bits: Bits) -> NDArray[np.float64]:
    """Return a model's margins, shape (rows,)."""
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(model))
    return np.asarray(
        booster.predict(xgboost.DMatrix(bits, nthread=1), output_margin=True), np.float64
    )


def same_splits(ours: bytes, theirs: bytes, trees: int) -> tuple[int, int]:
    """Return how many of the second model's splits the first has too, and their number.

    The first `trees` trees of both are compared node by node.
    """
    pairs = list(zip(trees_of(ours)[:trees], trees_of(theirs)[:trees], strict=False))
    found = [(splits_of(own), splits_of(other)) for own, other in pairs]
    same = sum(own.get(node) == bit for own, other in found for node, bit in other.items())
    return same, sum(len(other) for _, other in found)


def splits_of(tree: Tree) -> dict[int, int]:
    """Return the bit of each split by its node: 0 is the root, n has children 2n + 1, 2n + 2."""
    found: dict[int, int] = {}
    waiting = [(0, 0)]
    while waiting:
        index, node = waiting.pop()
        if tree["left_children"][index] != -1:
            found[node] = tree["split_indices"][index]
            waiting.append((tree["left_children"][index], 2 * node + 1))
            waiting.append((tree["right_children"][index], 2 * node + 2))
    return found
