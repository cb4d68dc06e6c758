"""Evaluation of a selection tree on GGSW ciphertexts, with one external product per factored bit.

Each node becomes an RLWE ciphertext whose phase is the node's value times q / 2^score_bits:

    node = constant + sum of c·mul·(body row of a bit) + sum of bit ⊠ child

A linear term needs no product, since a body row already encrypts the bit times q / B^(j+1); the row
with the smallest factor mul = 2^(β(j+1) - score_bits) that is at least 1 is used. Nodes are
computed height by height: the children's digits are transformed together, multiplied and summed in
the transformed domain, and each node is transformed back once.

The result is a deterministic function of the ciphertexts, so a party that has all of them can
repeat the evaluation and compare, if its NumPy rounds double precision in the same way.

Source: Chillotti, Gama, Georgieva, Izabachène, J. Cryptology 33 (2020), sections 3 and 5 (external
product, levelled evaluation without bootstrapping).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engines.levelled.budgets import linear_row
from engines.levelled.ggsw import EncodedGgsw, Ggsw
from engines.levelled.parameters import MODULUS_BITS, Parameters
from engines.levelled.ring import Spectrum, decompose, forward, inverse
from engines.levelled.selection import Level, Positions, SelectionTree
from engines.levelled.words import Words

_CHUNK = 16
"""Nodes transformed at a time, so that their polynomials fit into a core's cache."""


@dataclass(frozen=True)
class Operands:
    """One applicant's ciphertexts, prepared for a tree.

    `selectors` (selecting bits, 2l, 2, N/2) are the transforms of the bits that multiply; `addends`
    (terms, 2, N) are the masks and bodies of the body rows in the linear parts.
    """

    selectors: Spectrum
    addends: Words


class Evaluator:
    """Evaluates one program for any number of applicants."""

    def __init__(self, tree: SelectionTree, parameters: Parameters) -> None:
        self._tree = tree
        self._parameters = parameters
        level, mul = linear_row(tree.score_bits, parameters)
        self._row = parameters.levels + level
        self._linear = tree.linear * np.uint64(mul)
        step = np.uint64(1 << (MODULUS_BITS - tree.score_bits))
        self._constants = tree.constants.view(np.uint64) * step

    def prepare(self, *parts: Ggsw | EncodedGgsw) -> Operands:
        """Prepare one applicant's ciphertexts of the bits `tree.bits`, in this order."""
        tree, n = self._tree, self._parameters.n
        shape = (len(tree.selecting), self._parameters.rows, 2, n // 2)
        selectors = np.empty(shape, np.complex128)
        rows = np.empty((len(tree.bits), 2, n), np.uint64)
        selector = {int(bit): i for i, bit in enumerate(tree.selecting)}
        every = ((part, i) for part in parts for i in range(part.bits))
        for bit, (part, position) in enumerate(every):
            if bit in selector:
                one = part.one(position)
                selectors[selector[bit]] = one.transform()[0]
                rows[bit] = one.row(0, self._row)
            else:
                rows[bit] = part.row(position, self._row)
        return Operands(selectors, stepped(rows, tree.steps, tree.outputs))

    def evaluate(
        self, applicants: Sequence[Operands], progress: Callable[[float], None] | None = None
    ) -> Words:
        """Return the results' masks and bodies, shape (applicants, 2, N).

        Output k has the phase score·q / 2^score_bits on coefficient k. `progress` is called with
        the finished fraction.
        """
        results = np.empty((len(applicants), 2, self._parameters.n), np.uint64)
        for i, operands in enumerate(applicants):
            results[i] = self._evaluate(operands)
            if progress is not None:
                progress((i + 1) / len(applicants))
        return results

    def _evaluate(self, operands: Operands) -> Words:
        tree, n = self._tree, self._parameters.n
        nodes: Words = (self._linear @ operands.addends.reshape(-1, 2 * n)).reshape(-1, 2, n)
        nodes[:, 1, : tree.outputs] += self._constants
        for level in tree.levels[1:]:
            self._add_products(nodes, level, operands.selectors)
        result: Words = nodes[-1]
        return result

    def _add_products(self, nodes: Words, level: Level, selectors: Spectrum) -> None:
        """Add the products to the nodes of one height; their children must be complete."""
        rows, half = self._parameters.rows, self._parameters.n // 2
        sums = np.zeros((level.stop - level.first, 2, half), np.complex128)
        products = np.empty((rows, 2, half), np.complex128)
        parents = np.repeat(np.arange(len(sums)), np.diff(level.start))
        for first in range(0, len(parents), _CHUNK):
            own = slice(first, first + _CHUNK)
            digits = decompose(
                nodes[level.child[own]], self._parameters.base_log, self._parameters.levels
            )
            values = forward(digits.reshape(-1, rows, 1, 2 * half))
            for parent, bit, value in zip(parents[own], level.bit[own], values, strict=True):
                # Digits and rows have the same order: those of the mask, then those of the body.
                np.multiply(selectors[bit], value, out=products)
                sums[parent] += np.add.reduce(products)
        for first in range(0, len(sums), _CHUNK):
            own = slice(first, min(first + _CHUNK, len(sums)))
            nodes[level.first + own.start : level.first + own.stop] += inverse(sums[own])


def stepped(rows: Words, steps: Positions, outputs: int) -> Words:
    """Return rows[bit]·(X^t + ... + X^(outputs - 1)) modulo X^N + 1 for each (bit, t) of `steps`.

    `rows` has shape (bits, 2, N), the return value (steps, 2, N). The products are computed as
    differences of one cumulative sum.
    """
    if outputs == 1:
        alone: Words = rows[steps[:, 0]]
        return alone
    n = rows.shape[-1]
    used, position = np.unique(steps[:, 0], return_inverse=True)
    sums = np.zeros((len(used), 2, n + outputs + 1), np.uint64)
    # Coefficients that X^t moves beyond X^(N-1) wrap around with the opposite sign.
    sums[..., 1 : outputs + 1] = -rows[used][..., n - outputs :]
    sums[..., outputs + 1 :] = rows[used]
    np.cumsum(sums, axis=-1, out=sums)
    result = np.empty((len(steps), 2, n), np.uint64)
    for t in range(outputs):
        own = np.flatnonzero(steps[:, 1] == t)
        ends = sums[position[own]]
        result[own] = ends[..., outputs - t + 1 : outputs - t + 1 + n] - ends[..., 1 : n + 1]
    return result
