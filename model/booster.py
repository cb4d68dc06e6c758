"""Parsing of XGBoost boosters in JSON format, without XGBoost and without pickle.

Every feature is one bit of a layout, so every split tests one bit. A tree becomes the list of its
leaves, each with the bits on its path and their required values. At a split, values below the
limit, in single precision, go to the left, and missing values in the default direction; with
`zero_is_missing` in the schema, every 0 is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.encoding import Bits, Layout
from model.booster_header import MAXIMUM_BYTES, decode_booster, read_header
from utils.errors import ModelTooLarge, UnsupportedBooster

MAXIMUM_COLUMNS = 6
"""Most columns that the path to a leaf tests; several tests of one column count once."""
MAXIMUM_TREES = 300
MAXIMUM_LEAVES = 20_000
"""Most leaves of all trees together: 300 trees of depth 6 have 19,200."""
MAXIMUM_TESTS = 200
"""Most tests on a path: a split on categories becomes one test for each of them."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Leaf:
    """A leaf, reached if every (bit, wanted) of `path` holds; `cover` is its sum_hessian."""

    path: tuple[tuple[int, bool], ...]
    value: float
    cover: float


@dataclass(frozen=True)
class Tree:
    """The leaves of one tree, exactly one of which is reached for any input."""

    leaves: tuple[Leaf, ...]


@dataclass(frozen=True)
class Ensemble:
    """A binary classifier: log-odds = base_margin + the sum of one leaf per tree."""

    trees: tuple[Tree, ...]
    base_margin: float

    def leaf_values(self, bits: Bits) -> NDArray[np.float64]:
        """Return the leaf value of each tree: shape (rows, n_bits) to (rows, trees)."""
        values = np.zeros((len(bits), len(self.trees)))
        for i, tree in enumerate(self.trees):
            for leaf in tree.leaves:
                own = [bit for bit, _ in leaf.path]
                wanted = np.array([wanted for _, wanted in leaf.path], np.uint8)
                values[(bits[:, own] == wanted).all(axis=1), i] = leaf.value
        return values


def read_ensemble(path: Path, layout: Layout) -> Ensemble:
    """Read a saved model file; raises UnsupportedBooster, ModelTooLarge."""
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise ModelTooLarge(f"{path} is larger than {MAXIMUM_BYTES >> 20} MiB.")
        data = path.read_bytes()
    except OSError as error:
        raise UnsupportedBooster(
            f"{path} cannot be read ({error}); save the booster with save_model('….json')."
        ) from error
    return parse_booster(data, layout)


def parse_booster(data: bytes, layout: Layout) -> Ensemble:
    """Read a model file's content; raises UnsupportedBooster, ModelTooLarge."""
    return parse_ensemble(decode_booster(data), layout)


def parse_ensemble(document: dict[str, Any], layout: Layout) -> Ensemble:
    """Return the ensemble in a decoded model file over the bits of `layout`.

    Raises UnsupportedBooster unless it is a binary logistic tree booster whose features are the
    layout's bits, and ModelTooLarge beyond 6 columns on a path, 300 trees or 20,000 leaves.
    """
    header = read_header(document)
    if header.features != layout.n_bits:
        raise UnsupportedBooster(
            f"The booster has {header.features} features but schema {layout.schema.name} encodes "
            f"to {layout.n_bits} bits; train it on Layout.encode_frame of this schema."
        )
    _check_names(header.feature_names, layout)
    if header.used > MAXIMUM_TREES:
        raise ModelTooLarge(f"{header.used} trees are more than {MAXIMUM_TREES}; train fewer.")
    try:
        raw_trees = document["learner"]["gradient_booster"]["model"]["trees"][: header.used]
        trees = tuple(_tree(raw, layout) for raw in raw_trees)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UnsupportedBooster(
            f"A tree in the model file is invalid ({error!r}); save the booster again."
        ) from error
    leaves = sum(len(tree.leaves) for tree in trees)
    if leaves > MAXIMUM_LEAVES:
        raise ModelTooLarge(
            f"{leaves} leaves are more than {MAXIMUM_LEAVES}; train fewer or smaller trees."
        )
    return Ensemble(trees, math.log(header.base_score / (1 - header.base_score)))


def _check_names(names: tuple[str, ...], layout: Layout) -> None:
    """Raise UnsupportedBooster if features have the names of the layout's bits in another order."""
    places = {layout.bit_name(bit): bit for bit in range(layout.n_bits)}
    for place, name in enumerate(names):
        if places.get(name, place) != place:
            raise UnsupportedBooster(
                f"The booster's feature {place} is called {name!r}, which is bit {places[name]} "
                f"of schema {layout.schema.name}; train it on the bits in the schema's order."
            )


def _tree(raw: dict[str, Any], layout: Layout) -> Tree:
    if any(raw.get("split_type", ())):
        raise UnsupportedBooster(
            "The booster splits on categories of its own; train it on the schema's bits."
        )
    left, right = raw["left_children"], raw["right_children"]
    bits, limits = raw["split_indices"], raw["split_conditions"]
    covers = raw.get("sum_hessian", [1.0] * len(left))
    leaves: list[Leaf] = []

    def walk(node: int, path: dict[int, bool], columns: frozenset[int], depth: int) -> None:
        if left[node] == -1:
            value = float(limits[node])
            if not abs(value) <= _LARGEST:
                raise UnsupportedBooster("A leaf is not a finite number.")
            leaves.append(Leaf(tuple(sorted(path.items())), value, float(covers[node])))
            if len(leaves) > MAXIMUM_LEAVES:
                raise ModelTooLarge(f"A tree has more than {MAXIMUM_LEAVES} leaves.")
            return
        bit = int(bits[node])
        if not (0 <= bit < layout.n_bits and left[node] > 0 and right[node] > 0):
            raise ValueError(f"node {node} has an invalid bit or child")
        columns = columns | {layout.code_of_bit[bit].first_bit}
        if len(columns) > MAXIMUM_COLUMNS or depth > MAXIMUM_TESTS:
            raise ModelTooLarge(
                f"A tree tests more than {MAXIMUM_COLUMNS} columns or {MAXIMUM_TESTS} bits for one "
                f"leaf; train with max_depth={MAXIMUM_COLUMNS}."
            )
        goes_left = _directions(raw, node, bit, layout)
        for wanted in (False, True):
            if path.get(bit, wanted) == wanted:  # the path may have tested this bit already
                child = left[node] if goes_left[wanted] else right[node]
                walk(child, {**path, bit: wanted}, columns, depth + 1)

    walk(0, {}, frozenset(), 0)
    return Tree(tuple(leaves))


def _directions(raw: dict[str, Any], node: int, bit: int, layout: Layout) -> tuple[bool, bool]:
    """Return whether the bit values 0 and 1 go to the left at this split."""
    with np.errstate(over="ignore"):  # overflows to infinity, as in XGBoost
        limit = float(np.float32(raw["split_conditions"][node]))
    if math.isnan(limit):
        raise ValueError(f"the limit of node {node} is not a number")
    if layout.schema.zero_is_missing:
        return bool(raw["default_left"][node]), limit > 1
    if not 0 < limit <= 1:
        raise UnsupportedBooster(
            f"The booster splits column {layout.code_of_bit[bit].column.name} on bit {bit} "
            f"({layout.bit_name(bit)}) at {limit:.7g}, so that 0 and 1 go the same way. It was not "
            "trained on these bits, or on a sparse matrix without stored zeros, which XGBoost "
            "treats as missing: train it on a dense matrix, or set "
            '"zero_is_missing": true in the schema.'
        )
    return True, False
