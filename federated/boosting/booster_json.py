"""Writing trees as XGBoost's JSON, without the statistics that tell about rows.

Format: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html. `sum_hessian`,
`loss_changes` and the weights of inner nodes are 0: TimberStrike (arXiv 2506.07605) rebuilds
records from them. Predictions do not use them; feature importance by gain or cover does.

This does not hide how large a leaf of the first tree is: its value is then a fraction of two small
integers, from which its rows and approvals over all lenders can mostly be found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from federated.boosting.fixed_point import LEAF_BITS
from federated.boosting.trees import Tree
from federated.plan import Plan

_NO_PARENT = (1 << 31) - 1
_LIMIT = 0.5
"""Between the values 0, which goes left, and 1."""


def booster_json(plan: Plan, trees: Sequence[Tree]) -> bytes:
    """Return a model file of XGBoost 3.x over the schema's bits; equal trees give equal bytes."""
    features = str(plan.layout.n_bits)
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


def _tree(tree: Tree, number: int, features: str) -> dict[str, Any]:
    splits = {split.node: split for split in tree.splits}
    nodes = sorted({0} | {2 * node + side for node in splits for side in (1, 2)})
    place = {node: index for index, node in enumerate(nodes)}
    count = len(nodes)
    values = [tree.leaf(node) / (1 << LEAF_BITS) for node in nodes]
    inner = [node in splits for node in nodes]
    return {
        "base_weights": [0.0 if own else value for own, value in zip(inner, values, strict=True)],
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": [0] * count,
        "id": number,
        "left_children": [place.get(2 * node + 1, -1) for node in nodes],
        "loss_changes": [0.0] * count,
        "parents": [place[(node - 1) // 2] if node else _NO_PARENT for node in nodes],
        "right_children": [place.get(2 * node + 2, -1) for node in nodes],
        "split_conditions": [
            _LIMIT if own else value for own, value in zip(inner, values, strict=True)
        ],
        "split_indices": [splits[node].bit if node in splits else 0 for node in nodes],
        "split_type": [0] * count,
        "sum_hessian": [0.0] * count,
        "tree_param": {
            "num_deleted": "0",
            "num_feature": features,
            "num_nodes": str(count),
            "size_leaf_vector": "1",
        },
    }
