"""The same training by plain sums, for comparison: what pooled rows would have given."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from federated.boosting.fixed_point import Vector
from federated.boosting.grower import Grower
from federated.boosting.rows import LocalRows
from federated.boosting.trees import Tree
from federated.boosting.usable_bits import UsableBits, choose_bits
from federated.plan import Plan


@dataclass(frozen=True)
class Grown:
    """The record of one tree: the lenders it was grown on, and the number of levels opened."""

    lenders: tuple[str, ...]
    levels: int


@dataclass(frozen=True)
class Pooled:
    """The trees, their validation AUCs, the trees that the model keeps, and the usable bits."""

    trees: tuple[Tree, ...]
    aucs: tuple[float, ...]
    kept: tuple[Tree, ...]
    usable: UsableBits


def pooled(
    plan: Plan,
    lenders: Mapping[str, LocalRows],
    record: Sequence[Grown] | None = None,
    usable: UsableBits | None = None,
    scored: Collection[str] | None = None,
) -> Pooled:
    """Train by plain sums over the lenders that `record` names for each tree.

    Without a record, all lenders take part in all trees of the plan, up to early stopping. Without
    usable bits, all lenders are counted. The AUC of all trees is that of the lenders `scored`, and
    is left out if that is empty; by default, it is that of the last tree's lenders. The rows of
    `lenders` are taken back to their beginning first. Raises HistogramInvalid, TrainingDataInvalid.
    """
    if usable is None:
        usable = choose_bits(plan, total(rows.counts() for rows in lenders.values()))
    for rows in lenders.values():
        rows.begin(usable)
    grower = Grower(plan, usable)
    for number in range(plan.trees if record is None else len(record)):
        grown = Grown(tuple(lenders), plan.depth) if record is None else record[number]
        if not _grow(grower, lenders, grown):
            break
        for name in set(lenders) - set(grown.lenders):
            lenders[name].add(grower.trees[-1])
    if scored is None:
        scored = tuple(lenders) if record is None else record[-1].lenders
    if len(grower.trees) == plan.trees and not grower.done and scored:
        grower.take(plan.trees, 0, total(lenders[n].vector(plan.trees, 0) for n in scored))
    return Pooled(grower.trees, grower.aucs, grower.kept(), usable)


def _grow(grower: Grower, lenders: Mapping[str, LocalRows], grown: Grown) -> bool:
    """Grow one tree; returns False if early stopping ends the training instead."""
    roster: Collection[LocalRows] = [lenders[name] for name in grown.lenders]
    tree = len(grower.trees)
    for level in range(grown.levels):
        result = grower.take(tree, level, total(rows.vector(tree, level) for rows in roster))
        if result.splits is None:
            return False
        for rows in roster:
            rows.apply(result.splits)
        if result.tree is not None:
            return True
    grower.cut()
    for rows in roster:
        rows.cut()
    return True


def total(vectors: Iterable[Vector]) -> Vector:
    """Return the sum of vectors of equal length, modulo 2^64."""
    return np.asarray(np.sum(np.stack(list(vectors)), axis=0, dtype=np.uint64), np.uint64)
