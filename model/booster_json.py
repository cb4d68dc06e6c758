"""Writing of trees over bits as XGBoost's JSON, without the statistics that tell about rows.

Format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html. `sum_hessian`,
`loss_changes` and the weights of inner nodes are 0: TimberStrike (arXiv 2506.07605) rebuilds
records from them. Predictions do not use them; feature importance by gain or cover does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NO_PARENT = (1 << 31) - 1
_LIMIT = 0.5
"""Between the values 0, which goes left, and 1."""


@dataclass(frozen=True)
class NodeList:
    """The nodes of one tree, the root first; all lists have one entry per node.

    `left` and `right` are the numbers of the children for the bit values 0 and 1, or -1 for a leaf.
    `bits` are the bits of inner nodes and 0 for leaves; `values` those of leaves, and 0.0 for inner
    nodes.
    """

    left: Sequence[int]
    right: Sequence[int]
    bits: Sequence[int]
    values: Sequence[float]


def booster_json(trees: Sequence[NodeList], n_bits: int) -> bytes:
    """Return a model file of XGBoost 3.x with a base score of 1/2; equal trees give equal bytes."""
    features = str(n_bits)
    model = {
        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
        "iteration_indptr": list(range(len(trees) + 1)),
        "tree_info": [0] * len(trees),
        "trees": [_tree(tree, number, features) for number, tree in enumerate(trees)],
    }
    document = {
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": {"model": model, "name": "gbtree"},
            "learner_model_param": {
                "base_score": "[5E-1]",
                "boost_from_average": "0",
                "num_class": "0",
                "num_feature": features,
                "num_target": "1",
            },
            "objective": {
                "name": "binary:logistic",
                "reg_loss_param": {"scale_pos_weight": "1"},
            },
        },
        "version": [3, 2, 0],
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _tree(tree: NodeList, number: int, features: str) -> dict[str, Any]:
    count = len(tree.left)
    inner = [child != -1 for child in tree.left]
    parents = [_NO_PARENT] * count
    for children in (tree.left, tree.right):
        for node, child in enumerate(children):
            if child != -1:
                parents[child] = node
    return {
        "base_weights": list(tree.values),
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": [0] * count,
        "id": number,
        "left_children": list(tree.left),
        "loss_changes": [0.0] * count,
        "parents": parents,
        "right_children": list(tree.right),
        "split_conditions": [
            _LIMIT if own else value for own, value in zip(inner, tree.values, strict=True)
        ],
        "split_indices": list(tree.bits),
        "split_type": [0] * count,
        "sum_hessian": [0.0] * count,
        "tree_param": {
            "num_deleted": "0",
            "num_feature": features,
            "num_nodes": str(count),
            "size_leaf_vector": "1",
        },
    }
