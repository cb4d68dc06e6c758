"""The leaves of trees as an attacker sees them: those of a finished training, and XGBoost's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xgboost
from numpy.typing import NDArray

from federated.boosting.fixed_point import LEAF_BITS
from federated.boosting.trees import leaves, route
from tests.federated.attacks.naming import Leaves
from tests.federated.attacks.views import Data, View


def of_training(view: View, rows: NDArray[np.int64], trees: int) -> list[Leaves]:
    """Return the leaves of the first trees, without covers, for states (people, columns)."""
    layout, rate = view.plan.layout, view.plan.learning_rate
    states = np.ascontiguousarray(rows.T.astype(np.uint8))
    margins = np.zeros(len(rows), np.int64)
    found = []
    for tree in view.trees[:trees]:
        nodes = np.zeros(len(rows), np.uint8)
        route(nodes, tree.splits, layout, states)
        inner = {split.node for split in tree.splits}
        below = {2 * node + side for node in inner for side in (1, 2)} or {0}
        ends = sorted(below - inner)
        weights = [tree.leaf(node) / 2**LEAF_BITS / rate for node in ends]
        of = np.searchsorted(ends, nodes)
        found.append(Leaves(of, margins / 2**LEAF_BITS, np.array(weights), None))
        margins = margins + leaves(tree, nodes)
    return found


def of_bagging(
    view: View, data: Mapping[str, Data], victim: str, rows: NDArray[np.int64], rounds: int
) -> list[Leaves]:
    """Train as Flower's bagging does, and return the victim's leaves with XGBoost's covers.

    In each round every lender grows one tree on its rows alone, and all trees join the model. With
    one lender it is XGBoost's own training.
    """
    layout, plan = view.plan.layout, view.plan
    rate = plan.learning_rate / len(data)
    parameters = {
        **{"objective": "binary:logistic", "tree_method": "hist", "max_depth": plan.depth},
        **{"eta": rate, "lambda": plan.reg_lambda, "base_score": 0.5, "nthread": 1},
        **{"min_child_weight": plan.min_child_weight},
    }
    known = _bits(layout, rows)
    bits = {name: _bits(layout, states) for name, (states, _) in data.items()}
    margins = {name: np.zeros(len(one)) for name, one in bits.items()}
    own_margins = np.zeros(len(rows))
    found = []
    for _ in range(rounds):
        boosters = {}
        for name, (_, outcomes) in data.items():
            matrix = xgboost.DMatrix(bits[name], outcomes, base_margin=margins[name])
            boosters[name] = xgboost.train(parameters, matrix, 1)
        found.append(_leaves(boosters[victim], known, own_margins, rate))
        for booster in boosters.values():
            for name, one in bits.items():
                margins[name] = margins[name] + _values(booster, one)
            own_margins = own_margins + _values(booster, known)
    return found


def _bits(layout, states) -> NDArray[np.float32]:
    first = np.array([code.first_state for code in layout.codes])
    return layout.bits_of_states(states + first).astype(np.float32)


def _values(booster, bits) -> NDArray[np.float64]:
    matrix = xgboost.DMatrix(bits, base_margin=np.zeros(len(bits)))
    return booster.predict(matrix, output_margin=True).astype(np.float64)


def _leaves(booster, bits, margins, rate) -> Leaves:
    frame = booster.trees_to_dataframe()
    ends = frame[frame.Feature == "Leaf"].sort_values("Node")
    reached = booster.predict(xgboost.DMatrix(bits), pred_leaf=True).reshape(-1).astype(np.int64)
    return Leaves(
        np.searchsorted(ends.Node.to_numpy(), reached),
        margins,
        ends.Gain.to_numpy(np.float64) / rate,
        ends.Cover.to_numpy(np.float64),
    )
