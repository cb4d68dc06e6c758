"""The information that scores or signs tell about a party's record, in bits.

With X the owner's record, K the records that a reader knows, and Y what is opened, the reader
learns I(X; Y | K) = H(Y | K) - H(Y | K, X). Both entropies are sums over all records (outcomes.py).
The reader is taken to know the model. One that does not learns no more, as long as the model does
not depend on the record: I(X; Y | K) is then at most I(X; Y | K, model).

Source: Cover, Thomas, "Elements of Information Theory" (2006), chapter 2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.measure.outcomes import Floats, Integers, Outcomes, product

_KINDS = 256
"""Rows of a table of scores at a time, which bounds the memory."""


class Opened(Protocol):
    """The values opened of every record."""

    def entropy(self, known: Collection[int]) -> float:
        """Return its entropy in bits, given the records of the parties with these indices."""


Entropies = Mapping[frozenset[int], float]
"""The entropy of what is opened, by the parties whose records are known."""


def entropies(opened: Opened, parties: int) -> Entropies:
    """Return the entropy of what is opened, in bits, given the records of some or all parties."""
    some = [
        frozenset(known)
        for size in range(1, parties)
        for known in combinations(range(parties), size)
    ]
    return {known: opened.entropy(known) for known in some} | {frozenset(range(parties)): 0.0}


def learned(own: Entropies, owner: int, known: Collection[int]) -> float:
    """Return the bits that a reader learns of the owner's record if it knows those of `known`."""
    return own[frozenset(known)] - own[frozenset({*known, owner})]


@dataclass(frozen=True)
class Scores:
    """The first `count` scores: the decision's, or with more also those of an explanation."""

    outcomes: Outcomes
    count: int

    def entropy(self, known: Collection[int]) -> float:
        own = self.outcomes
        given = _given(own.scores.shape[:-1], known)
        weights = product(own.weights)
        unknown = -_entropy(_totals(given, weights))
        if own.adder in known:
            # The sum added to all scores of a known record is known too.
            both = _numbered(np.column_stack([given, self._kinds]))
            return unknown + _entropy(_totals(both, weights))
        # Differences of scores do not depend on the sum; it is added to the first score.
        kinds = _numbered(np.column_stack([given, self._kinds_of_differences]))
        first = own.scores[..., 0].reshape(-1)
        low = np.full(int(kinds.max()) + 1, first.max())
        np.minimum.at(low, kinds, first)
        first = first - low[kinds]  # adding a number to the scores of a kind changes no entropy
        high = np.zeros(len(low), np.int64)
        np.maximum.at(high, kinds, first)
        # The sum adds its own entropy to a kind with one first score.
        alone = high[kinds] == 0
        once = _totals(kinds[alone], weights[alone])
        unknown += _entropy(once) + float(once.sum()) * _entropy(own.spread(np.ones((1, 1))))
        order = np.flatnonzero(~alone)
        order = order[np.argsort(kinds[order])]
        kinds, first, weights = _numbered(kinds[order, None]), first[order], weights[order]
        for start in range(0, int(kinds.max(initial=-1)) + 1, _KINDS):
            some = slice(*np.searchsorted(kinds, (start, start + _KINDS)))
            table = np.zeros((_KINDS, int(first[some].max()) + 1))
            np.add.at(table, (kinds[some] - start, first[some]), weights[some])
            unknown += _entropy(own.spread(table))
        return unknown

    @cached_property
    def _rows(self) -> Integers:
        return self.outcomes.scores[..., : self.count].reshape(-1, self.count)

    @cached_property
    def _kinds(self) -> Integers:
        return _numbered(self._rows)

    @cached_property
    def _kinds_of_differences(self) -> Integers:
        return _numbered(self._rows[:, 1:] - self._rows[:, :1])

    def candidates(self) -> Floats:
        """Return the probabilities that 0, 1, 2 … bins have the decision's score."""
        scores, weights = self.outcomes.scores, product(self.outcomes.weights)
        return _counted(scores[..., 1 : self.count] == scores[..., :1], weights)


@dataclass(frozen=True)
class Signs:
    """The first signs: the decision's, or with more also those of an explanation.

    `codes` has one axis for the records of each party, merged where no sign differs; bit j of a
    code is 1 if score j is 0 or more. `weights` are the probabilities of each party's records.
    """

    codes: Integers
    weights: tuple[Floats, ...]
    count: int

    @classmethod
    def of(cls, outcomes: Outcomes, count: int) -> Signs:
        """Return the first `count` signs."""
        scores = np.moveaxis(outcomes.scores[..., :count], outcomes.adder, 0)
        sums, shares = outcomes.sums()
        below = np.concatenate([[0.0], np.cumsum(shares)])
        tables, weights = [], []
        for own, weight in zip(scores, outcomes.weights[outcomes.adder], strict=True):
            # A sign changes only where the sum reaches minus a score: no other sums are needed.
            ends = np.unique(np.append(np.clip(-own, sums[0], None), sums[0]))
            ends = ends[ends <= sums[-1]]
            tables.append((own + ends.reshape(-1, *[1] * own.ndim) >= 0) @ (1 << np.arange(count)))
            weights.append(weight * np.diff(below[np.searchsorted(sums, ends)], append=below[-1]))
        codes = np.concatenate(tables)
        same = _numbered(codes.reshape(len(codes), -1))
        _, first = np.unique(same, return_index=True)
        merged = list(outcomes.weights)
        merged[outcomes.adder] = _totals(same, np.concatenate(weights))
        return cls(np.moveaxis(codes[first], 0, outcomes.adder), tuple(merged), count)

    def entropy(self, known: Collection[int]) -> float:
        given, weights = _given(self.codes.shape, known), product(self.weights)
        both = _numbered(np.column_stack([given, self._kinds]))
        return _entropy(_totals(both, weights)) - _entropy(_totals(given, weights))

    @cached_property
    def _kinds(self) -> Integers:
        # Few of the 2^count codes occur.
        return np.unique(self.codes, return_inverse=True)[1].reshape(-1)

    def candidates(self) -> Floats:
        """Return the probabilities that 0, 1, 2 … bins have the decision's sign."""
        signs = self.codes[..., None] >> np.arange(self.count) & 1
        return _counted(signs[..., 1:] == signs[..., :1], product(self.weights))


def _given(shape: tuple[int, ...], known: Collection[int]) -> Integers:
    """Return the number of the known parties' records in every cell, flat."""
    kept = [size if axis in known else 1 for axis, size in enumerate(shape)]
    return np.broadcast_to(np.arange(np.prod(kept)).reshape(kept), shape).reshape(-1)


def _numbered(rows: Integers) -> Integers:
    """Return a number for each row, shape (rows,), which equal rows share."""
    numbers = np.zeros(len(rows), np.int64)
    if not len(rows):
        return numbers
    for column in rows.T:  # much faster than np.unique of whole rows
        places = column - column.min()
        pairs = numbers * (places.max() + 1) + places
        numbers = np.unique(pairs, return_inverse=True)[1].reshape(-1)
    return numbers


def _totals(numbers: Integers, weights: Floats, least: int = 0) -> Floats:
    """Return the sum of the weights of each number, for at least the numbers below `least`."""
    return np.bincount(numbers, weights, least).astype(np.float64)


def _counted(matches: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return the probability of each number of matches on the last axis."""
    counts = matches.sum(axis=-1).reshape(-1)
    return _totals(counts, weights, matches.shape[-1] + 1)


def _entropy(weights: Floats) -> float:
    """Return the entropy in bits of probabilities, some of which may be 0."""
    positive = weights[weights > 0]
    return float(-np.sum(positive * np.log2(positive)))
