"""Tree ensembles over raw columns, and their evaluation by the rules of the source's library.

Every reader of this package returns a `SourceModel`. `SourceModel.log_odds` is written after the
documented rules of each library and imports none of them, so that it can serve as a reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.errors import ImportRefused, ModelTooLarge

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]

DEEPEST = 64
"""Deepest tree that is read; the booster over bits has a lower limit of its own."""
MOST_NODES = 400_000
MOST_CATEGORIES = 1 << 16
MOST_FEATURES = 1 << 16
ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: numbers of at most this size are zero."""


@dataclass(frozen=True)
class NumericSplit:
    """A split that sends `x < limit` to the left, or `x <= limit` if it is `inclusive`.

    With `single`, x is converted to single precision first, as XGBoost and GradientBoosting do. A
    missing value goes to the left if `missing_left`; `missing_as_zero` makes it 0 instead, and
    `zero_missing` treats 0 as missing (LightGBM's missing types None and Zero).
    """

    feature: int
    limit: float
    inclusive: bool
    single: bool
    missing_left: bool
    missing_as_zero: bool = False
    zero_missing: bool = False

    def left(self, values: Values) -> Flags:
        """Return True for each value that goes to the left; NaN is a missing value."""
        absent = np.isnan(values)
        if self.missing_as_zero:
            values, absent = np.where(absent, 0.0, values), np.zeros(len(values), np.bool_)
        elif self.zero_missing:
            absent = absent | (np.abs(values) <= ZERO)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.single:
                values = values.astype(np.float32).astype(np.float64)
            goes = values <= self.limit if self.inclusive else values < self.limit
        return np.where(absent, self.missing_left, goes)

    def flips(self) -> tuple[float, ...]:
        """Return, in rising order, every number from which on the direction is another one.

        These are the smallest numbers in double precision: x just below one of them goes to one
        side, and x equal to it to the other side.
        """
        found = {self._limit()}
        if self.zero_missing:
            found |= {-ZERO, float(np.nextafter(ZERO, np.inf))}
        finite = sorted(flip for flip in found if np.isfinite(flip))
        return tuple(flip for flip in finite if self._turns(flip))

    def _turns(self, flip: float) -> bool:
        before, after = self.left(np.array([np.nextafter(flip, -np.inf), flip]))
        return bool(before != after)

    def _limit(self) -> float:
        """Return the smallest number beyond the limit."""
        if not self.single:
            return float(np.nextafter(self.limit, np.inf)) if self.inclusive else self.limit
        with np.errstate(over="ignore"):
            first = np.float32(self.limit)
        if float(first) < self.limit or (self.inclusive and float(first) == self.limit):
            first = np.nextafter(first, np.float32(np.inf))
        # Numbers from the middle between two singles on are rounded up; at the middle, to even.
        middle = (float(np.nextafter(first, np.float32(-np.inf))) + float(first)) / 2
        return middle if np.float32(middle) == first else float(np.nextafter(middle, np.inf))


@dataclass(frozen=True)
class CategorySplit:
    """A split on a category's code: those of `codes` go to the left if `listed_left`, else right.

    A missing value, or a category that the model does not know, is NaN.
    """

    feature: int
    codes: frozenset[int]
    listed_left: bool
    missing_left: bool

    def left(self, values: Values) -> Flags:
        """Return True for each code that goes to the left; NaN is a missing value."""
        listed = np.isin(values, np.array(sorted(self.codes), np.float64))
        return np.where(np.isnan(values), self.missing_left, listed == self.listed_left)


Split = NumericSplit | CategorySplit


def require_features(count: int) -> None:
    """Raise ModelTooLarge for a number of features that no schema has columns for."""
    if count > MOST_FEATURES:
        raise ModelTooLarge(
            f"The model file states more than {MOST_FEATURES} features; train on fewer columns."
        )


def codes_of_words(words: Sequence[int]) -> frozenset[int]:
    """Return the codes of a bit set in words of 32 bits; raises ImportRefused."""
    if len(words) * 32 > MOST_CATEGORIES:
        raise ImportRefused(
            f"The model splits a column of more than {MOST_CATEGORIES} categories; group them."
        )
    return frozenset(
        32 * place + bit for place, word in enumerate(words) for bit in range(32) if word >> bit & 1
    )


@dataclass(frozen=True)
class Inner:
    """A node with a split and two children."""

    split: Split
    left: Node
    right: Node


Node = Inner | float
"""An inner node, or the value of a leaf."""


@dataclass(frozen=True)
class Feature:
    """A feature of the model; `categories` are the texts of its codes, if the file has them."""

    name: str
    categorical: bool = False
    categories: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SourceModel:
    """A binary classifier: log-odds of its second class = base + the sum of one leaf per tree.

    `source` names the library and version. `named` is False if the file has no feature names.
    `labels` are the two classes as texts, if the file has them.
    """

    source: str
    features: tuple[Feature, ...]
    named: bool
    trees: tuple[Node, ...]
    base: float
    accepts_missing: bool = True
    labels: tuple[str, str] | None = None

    def log_odds(self, rows: Values) -> Values:
        """Return the log-odds of raw rows: shape (rows, features) to (rows,)."""
        total = np.full(len(rows), self.base)
        everything = np.arange(len(rows))
        for tree in self.trees:
            _add(tree, rows, everything, total)
        return total

    def splits(self) -> Iterator[Split]:
        """Iterate over the splits of all trees."""
        left = list(self.trees)
        while left:
            node = left.pop()
            if isinstance(node, Inner):
                yield node.split
                left += [node.right, node.left]


def _add(node: Node, rows: Values, chosen: NDArray[np.int64], total: Values) -> None:
    if not isinstance(node, Inner):
        total[chosen] += node
    elif len(chosen):
        left = node.split.left(rows[chosen, node.split.feature])
        _add(node.left, rows, chosen[left], total)
        _add(node.right, rows, chosen[~left], total)


class TreeBuilder:
    """Builds trees from a file's node numbers, with bounds on depth and on all nodes together."""

    def __init__(self, features: int) -> None:
        self._features = features
        self._nodes = 0

    def tree(
        self, root: int, leaf: Callable[[int], float | None], inner: Callable[[int], _Parts]
    ) -> Node:
        """Build one tree. `leaf` returns a leaf's value, or None for an inner node.

        `inner` returns a node's split and children. Raises ImportRefused for a tree that is
        inconsistent, and ModelTooLarge.
        """
        seen: set[int] = set()

        def build(node: int, depth: int) -> Node:
            self._nodes += 1
            if depth > DEEPEST or self._nodes > MOST_NODES:
                raise ModelTooLarge(
                    f"The model has a tree deeper than {DEEPEST} or more than {MOST_NODES} nodes; "
                    "train with max_depth=6 or less."
                )
            if node in seen:
                raise ImportRefused("A tree of the model file reaches a node twice; save it again.")
            seen.add(node)
            value = leaf(node)
            if value is not None:
                if not np.isfinite(value):
                    raise ImportRefused("A leaf of the model is not a finite number; train again.")
                return float(value)
            split, left, right = inner(node)
            if not 0 <= split.feature < self._features:
                raise ImportRefused("A split of the model file names no feature; save it again.")
            if isinstance(split, NumericSplit) and np.isnan(split.limit):
                raise ImportRefused("A threshold of the model file is no number; save it again.")
            if isinstance(split, CategorySplit):
                _require_codes(split.codes)
            return Inner(split, build(left, depth + 1), build(right, depth + 1))

        return build(root, 0)


def _require_codes(codes: frozenset[int]) -> None:
    if codes and not 0 <= min(codes) <= max(codes) < MOST_CATEGORIES:
        raise ImportRefused(
            f"A split of the model file lists a category outside 0 to {MOST_CATEGORIES - 1}; group "
            "the categories, and train again."
        )


_Parts = tuple[Split, int, int]
