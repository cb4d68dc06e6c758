"""Writing of jointly grown trees as XGBoost's JSON (model/booster_json.py).

This does not hide how large a leaf of the first tree is: its value is a fraction of two small
integers, from which its rows and approvals over all lenders can mostly be found.
"""

from __future__ import annotations

from collections.abc import Sequence

from federated.boosting.fixed_point import LEAF_BITS
from federated.boosting.trees import Tree
from federated.plan import Plan
from model import booster_json as model_file


def booster_json(plan: Plan, trees: Sequence[Tree]) -> bytes:
    """Return a model file of XGBoost 3.x over the schema's bits; equal trees give equal bytes."""
    return model_file.booster_json([_nodes(tree) for tree in trees], plan.layout.n_bits)


def _nodes(tree: Tree) -> model_file.NodeList:
    splits = {split.node: split for split in tree.splits}
    nodes = sorted({0} | {2 * node + side for node in splits for side in (1, 2)})
    place = {node: index for index, node in enumerate(nodes)}
    return model_file.NodeList(
        left=[place.get(2 * node + 1, -1) for node in nodes],
        right=[place.get(2 * node + 2, -1) for node in nodes],
        bits=[splits[node].bit if node in splits else 0 for node in nodes],
        values=[0.0 if node in splits else tree.leaf(node) / (1 << LEAF_BITS) for node in nodes],
    )
