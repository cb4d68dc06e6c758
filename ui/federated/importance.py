"""Importance of columns and parties in a model, from its trees alone.

XGBoost's importance by gain or cover needs sums over rows, which are not part of this model. Here a
split weighs as much as the mean leaf values of its two sides differ, with all leaves alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from features.encoding import ColumnCode, Layout
from federated.boosting.fixed_point import LEAF_BITS
from federated.boosting.trees import Split, Tree, column_of


@dataclass(frozen=True)
class ColumnImportance:
    """The number of a column's splits, and the sum of the differences that they make (log-odds)."""

    code: ColumnCode
    splits: int
    spread: float


@dataclass(frozen=True)
class PartyImportance:
    """The same for all columns of a party; `label` is the party's."""

    label: str
    splits: int
    spread: float


def column_importance(trees: Sequence[Tree], layout: Layout) -> tuple[ColumnImportance, ...]:
    """Return the importance of each column that a tree splits by, the largest spread first."""
    counts = [0] * len(layout.codes)
    spreads = [0.0] * len(layout.codes)
    for tree in trees:
        inner = {split.node: split for split in tree.splits}
        for split in tree.splits:
            place = column_of(split.bit, layout)
            counts[place] += 1
            spreads[place] += _difference(tree, inner, split.node)
    found = [
        ColumnImportance(code, count, spread)
        for code, count, spread in zip(layout.codes, counts, spreads, strict=True)
        if count
    ]
    return tuple(sorted(found, key=lambda one: -one.spread))


def party_importance(
    columns: Sequence[ColumnImportance], layout: Layout
) -> tuple[PartyImportance, ...]:
    """Return the importance of every party, in the schema's order."""
    return tuple(
        PartyImportance(
            party.label,
            sum(one.splits for one in columns if one.code.party == party.name),
            sum(one.spread for one in columns if one.code.party == party.name),
        )
        for party in layout.schema.parties
    )


def _difference(tree: Tree, inner: dict[int, Split], node: int) -> float:
    left = _leaves(tree, inner, 2 * node + 1)
    right = _leaves(tree, inner, 2 * node + 2)
    return abs(sum(left) / len(left) - sum(right) / len(right)) / (1 << LEAF_BITS)


def _leaves(tree: Tree, inner: dict[int, Split], node: int) -> list[int]:
    if node not in inner:
        return [tree.leaf(node)]
    return [*_leaves(tree, inner, 2 * node + 1), *_leaves(tree, inner, 2 * node + 2)]
