"""The scores of all records that a schema allows, counted exactly.

Every column is independent, and each of its states is equally likely. The states of a column in
which all bits that a program reads are equal are merged. Columns of one party that only add to all
scores alike are not enumerated: the distribution of their sum is a convolution. No record is drawn
at random, so that figures computed from this have no error of estimation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.interface import DECIDE, EXPLAIN
from features.encoding import ColumnCode, Layout
from model.program import Program
from utils.errors import ModelTooLarge

MOST_RECORDS = 1 << 20
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """The scores of every record.

    `scores` has one axis for the merged records of each party, in the schema's order, and a last
    axis with the decision's score followed by the explanation's. `weights` are the probabilities of
    each party's merged records. For each of its columns in `added`, the party with index `adder`
    adds one of the changes to all scores, with these probabilities.
    """

    scores: Integers
    weights: tuple[Floats, ...]
    adder: int
    added: tuple[tuple[Integers, Floats], ...]

    @classmethod
    def of(cls, programs: Mapping[str, Program], layout: Layout) -> Outcomes:
        """Enumerate the records of a deployment; raises ModelTooLarge."""
        used, schema = [programs[DECIDE], programs[EXPLAIN]], layout.schema
        states, shares = zip(*(_merged(code, used) for code in layout.codes), strict=True)
        parties = [
            [i for i, code in enumerate(layout.codes) if code.party == name]
            for name in schema.party_names
        ]
        sizes = [math.prod(len(states[i]) for i in own) for own in parties]
        adder = int(np.argmax(sizes))
        adding = [i for i in parties[adder] if _only_adds(layout.codes[i], used)]
        parties[adder] = [i for i in parties[adder] if i not in adding]
        shape = [math.prod(len(states[i]) for i in own) for own in parties]
        records = math.prod(shape)
        if records > MOST_RECORDS:
            raise ModelTooLarge(
                f"The scores depend on {records} combinations of states; at most {MOST_RECORDS} "
                "are enumerated. Use a model with fewer products of columns."
            )
        order = [i for own in parties for i in own]
        places = np.indices([len(states[i]) for i in order]).reshape(len(order), records)
        rows = np.tile([code.first_state for code in layout.codes], (records, 1))
        for i, place in zip(order, places, strict=True):
            rows[:, i] += states[i][place]
        bits = layout.bits_of_states(rows)
        scores = np.concatenate([program.scores(bits) for program in used], axis=1)
        return cls(
            scores.reshape(*shape, -1),
            tuple(product([shares[i] for i in own]) for own in parties),
            adder,
            tuple((_changes(layout.codes[i], used)[states[i], 0], shares[i]) for i in adding),
        )

    def sums(self) -> tuple[Integers, Floats]:
        """Return the possible sums of the added columns in rising order, and their probabilities.

        Both have shape (sums,).
        """
        low = sum(int(changes.min()) for changes, _ in self.added)
        weights = self.spread(np.ones((1, 1)))[0]
        possible = np.flatnonzero(weights)
        return possible + low, weights[possible]

    def spread(self, table: Floats) -> Floats:
        """Add the sum of the added columns to scores.

        `table` (rows, scores) has probabilities of consecutive scores; returns the same for more
        scores, which begin lower by the least sum.
        """
        for changes, weights in self.added:
            steps = changes - changes.min()
            wider = np.zeros((len(table), table.shape[1] + int(steps.max())))
            for step, weight in zip(steps.tolist(), weights, strict=True):
                wider[:, step : step + table.shape[1]] += weight * table
            table = wider
        return table


def product(weights: Sequence[Floats]) -> Floats:
    """Return the probabilities of independent choices together, flat; the last varies fastest."""
    joint = np.ones(1)
    for own in weights:
        joint = np.outer(joint, own).reshape(-1)
    return joint


def _merged(code: ColumnCode, programs: Sequence[Program]) -> tuple[Integers, Floats]:
    """Return a state of a column for each value of its bits that are read, and their shares."""
    read = {bit for program in programs for monomial in program.polynomial for bit in monomial}
    own = [bit for bit in range(code.n_bits) if code.first_bit + bit in read]
    _, states, counts = np.unique(code.table[:, own], axis=0, return_index=True, return_counts=True)
    return states.astype(np.int64), counts / code.n_states


def _only_adds(code: ColumnCode, programs: Sequence[Program]) -> bool:
    """Return True if a column changes all scores of both programs by the same amount."""
    bits = set(range(code.first_bit, code.first_bit + code.n_bits))
    products = [m for program in programs for m in program.polynomial if len(m) > 1]
    changes = _changes(code, programs)
    return all(bits.isdisjoint(m) for m in products) and bool((changes == changes[:, :1]).all())


def _changes(code: ColumnCode, programs: Sequence[Program]) -> Integers:
    """Return how each state of a column changes every score by its own bits alone.

    The changes are from the first state; shape (states, scores).
    """
    own = range(code.first_bit, code.first_bit + code.n_bits)
    coefficients = [
        np.stack([p.polynomial.get((bit,), np.zeros(len(p.outputs), np.int64)) for bit in own])
        for p in programs
    ]
    changes: Integers = code.table.astype(np.int64) @ np.concatenate(coefficients, axis=1)
    return changes - changes[0]
