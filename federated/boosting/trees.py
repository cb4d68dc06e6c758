"""Trees and the splits of one level, as small immutable values that travel as JSON.

Nodes are numbered as in a heap: the root is 0, and the children of n are 2n + 1 (bit 0, left) and
2n + 2 (bit 1, right). All leaves are integers in 2^-20.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from features.encoding import Layout
from federated.boosting.fixed_point import MAXIMUM_LEAF, Integers
from model.booster import MAXIMUM_TREES

MAXIMUM_DEPTH = 4
"""Deepest tree that lenders grow together; it bounds their messages."""
LAST_NODE = (1 << MAXIMUM_DEPTH) - 2
"""The last node that can be split."""

_Node = Annotated[int, Field(strict=True, ge=0, le=LAST_NODE)]
_Bit = Annotated[int, Field(strict=True, ge=0, lt=1 << 20)]
_Leaf = Annotated[int, Field(strict=True, ge=-MAXIMUM_LEAF, le=MAXIMUM_LEAF)]


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Split(_Value):
    """A split of `node` by `bit`; `left` and `right` are the children's values as leaves."""

    node: _Node
    bit: _Bit
    left: _Leaf
    right: _Leaf


class Splits(_Value):
    """The splits of one level of one tree, by rising node; `root` is the root's value as a leaf."""

    tree: Annotated[int, Field(strict=True, ge=0, lt=MAXIMUM_TREES)]
    level: Annotated[int, Field(strict=True, ge=0, lt=MAXIMUM_DEPTH)]
    root: _Leaf
    splits: tuple[Split, ...] = Field(default=(), max_length=1 << (MAXIMUM_DEPTH - 1))


class Tree(_Value):
    """A tree; its splits are listed by rising node, so that parents come before children."""

    root: _Leaf
    splits: tuple[Split, ...] = Field(default=(), max_length=LAST_NODE + 1)

    @model_validator(mode="after")
    def _check(self) -> Tree:
        fault = fault_of(self.splits)
        if fault:
            raise ValueError(fault)
        return self

    @property
    def depth(self) -> int:
        """The number of splits on the longest path."""
        return max((level_of(split.node) + 1 for split in self.splits), default=0)

    @property
    def is_constant(self) -> bool:
        """True if all leaves have the same value."""
        inner = {split.node for split in self.splits}
        below = {2 * node + side for node in inner for side in (1, 2)} or {0}
        return len({self.leaf(node) for node in below - inner}) == 1

    def leaf(self, node: int) -> int:
        """Return the value of `node` as a leaf, in 2^-20."""
        if node == 0:
            return self.root
        split = next(s for s in self.splits if s.node == (node - 1) // 2)
        return split.left if node % 2 else split.right


def level_of(node: int) -> int:
    """Return the level of a node; the root is on level 0."""
    return (node + 1).bit_length() - 1


def column_of(bit: int, layout: Layout) -> int:
    """Return the index of a bit's column."""
    return bisect_right(layout.codes, bit, key=lambda code: code.first_bit) - 1


def fault_of(splits: Sequence[Split]) -> str:
    """Return the reason for which splits, listed by node, form no tree; empty if they do."""
    paths: dict[int, frozenset[int]] = {0: frozenset()}
    last = -1
    for split in splits:
        if split.node <= last:
            return "the splits are not listed by rising node"
        last = split.node
        path = paths.get(split.node)
        if path is None:
            return f"node {split.node} does not exist in this tree"
        if split.bit in path:
            return f"node {split.node} repeats a bit of its path"
        paths[2 * split.node + 1] = paths[2 * split.node + 2] = path | {split.bit}
    return ""


def route(
    nodes: NDArray[np.uint8],
    splits: Iterable[Split],
    layout: Layout,
    states: NDArray[np.uint8],
) -> None:
    """Move rows to the children of split nodes: changes `nodes` (rows,) in place.

    `states` (columns, rows) are counted within the column.
    """
    for split in splits:
        code = layout.code_of_bit[split.bit]
        column = column_of(split.bit, layout)
        rows = np.flatnonzero(nodes == split.node)
        values = code.table[:, split.bit - code.first_bit]
        nodes[rows] = values[states[column, rows]] + np.uint8(2 * split.node + 1)


def leaves(tree: Tree, nodes: NDArray[np.uint8]) -> Integers:
    """Return the leaves of rows that have been routed through all splits of `tree`."""
    values = np.zeros(2 * LAST_NODE + 3, np.int64)
    values[0] = tree.root
    for split in tree.splits:
        values[2 * split.node + 1], values[2 * split.node + 2] = split.left, split.right
    return np.asarray(values[nodes], np.int64)


def margins(trees: Iterable[Tree], layout: Layout, states: NDArray[np.uint8]) -> Integers:
    """Return the margins in 2^-20 of rows with `states` (columns, rows), shape (rows,)."""
    total = np.zeros(states.shape[1], np.int64)
    for tree in trees:
        nodes = np.zeros(states.shape[1], np.uint8)
        route(nodes, tree.splits, layout, states)
        total += leaves(tree, nodes)
    return total
