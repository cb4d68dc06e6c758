"""Evaluating a selection tree on GGSW ciphertexts: one external product for every bit pulled out.

Every node becomes an RLWE ciphertext whose phase is the node's value times q / 2^score_bits:

    node = constant + sum of c·mul·(body row of a bit) + sum of bit ⊠ child

A linear term needs no product, for a body row already encrypts the bit, times q / B^(j+1); of
these the row with the smallest factor mul = 2^(β(j+1) - score_bits) is taken that is none below 1.
Nodes are computed height by height: the children's digits are transformed together, multiplied
and added up where products are cheap, and every node is transformed back once.

What comes out is a function of the ciphertexts alone, so a party that has all of them can evaluate
again and compare. Rounding in double precision is the same wherever numpy computes alike.

Source: Chillotti, Gama, Georgieva, Izabachène, J. Cryptology 33 (2020), sections 3 and 5 (external
product, levelled evaluation without bootstrapping).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engines.levelled.budgets import linear_row
from engines.levelled.ggsw import Ggsw
from engines.levelled.parameters import MODULUS_BITS, Parameters
from engines.levelled.ring import Spectrum, decompose, forward, inverse
from engines.levelled.selection import Level, Positions, SelectionTree
from engines.levelled.words import Words

_CHUNK = 16
"""Polynomials are transformed so many nodes at a time that all stays in a core's cache."""


@dataclass(frozen=True)
class Operands:
    """One applicant's ciphertexts as a tree needs them.

    `selectors` (selecting bits, 2l, 2, N/2) are the transforms of the bits that multiply,
    `addends` (terms, 2, N) the body rows of the linear parts, mask and body.
    """

    selectors: Spectrum
    addends: Words


class Evaluator:
    """One program, ready for any number of applicants."""

    def __init__(self, tree: SelectionTree, parameters: Parameters) -> None:
        self._tree = tree
        self._parameters = parameters
        level, mul = linear_row(tree.score_bits, parameters)
        self._row = parameters.levels + level
        self._linear = tree.linear * np.uint64(mul)
        step = np.uint64(1 << (MODULUS_BITS - tree.score_bits))
        self._constants = tree.constants.view(np.uint64) * step

    def prepare(self, ciphertexts: Ggsw) -> Operands:
        """What the tree needs of one applicant's ciphertexts, those of `tree.bits` in order."""
        masks, bodies = ciphertexts.masks, ciphertexts.bodies
        shape = (len(self._tree.selecting), self._parameters.rows, 2, self._parameters.n // 2)
        selectors = np.empty(shape, np.complex128)
        for i, bit in enumerate(self._tree.selecting):
            own = slice(bit, bit + 1)
            selectors[i] = Ggsw(masks[own], bodies[own]).transform()[0]
        rows = np.stack((ciphertexts.masks[:, self._row], ciphertexts.bodies[:, self._row]), axis=1)
        return Operands(selectors, stepped(rows, self._tree.steps, self._tree.outputs))

    def evaluate(
        self, applicants: Sequence[Operands], progress: Callable[[float], None] | None = None
    ) -> Words:
        """The results' masks and bodies, shape (applicants, 2, N).

        Output k has the phase score·q / 2^score_bits on coefficient k. `progress` is told the
        finished share.
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
        """Complete the nodes of one height; their children are complete."""
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
                # Mask digits meet mask rows and body digits body rows, in this order.
                np.multiply(selectors[bit], value, out=products)
                sums[parent] += np.add.reduce(products)
        for first in range(0, len(sums), _CHUNK):
            own = slice(first, min(first + _CHUNK, len(sums)))
            nodes[level.first + own.start : level.first + own.stop] += inverse(sums[own])


def stepped(rows: Words, steps: Positions, outputs: int) -> Words:
    """For each (bit, t) of `steps` rows[bit] times X^t + ... + X^(outputs - 1), modulo X^N + 1.

    `rows` has shape (bits, 2, N), the answer (steps, 2, N). The products are differences of one
    running sum.
    """
    if outputs == 1:
        alone: Words = rows[steps[:, 0]]
        return alone
    n = rows.shape[-1]
    used, position = np.unique(steps[:, 0], return_inverse=True)
    sums = np.zeros((len(used), 2, n + outputs + 1), np.uint64)
    # What X^t moves beyond X^(N-1) comes back at the front with the other sign.
    sums[..., 1 : outputs + 1] = -rows[used][..., n - outputs :]
    sums[..., outputs + 1 :] = rows[used]
    np.cumsum(sums, axis=-1, out=sums)
    result = np.empty((len(steps), 2, n), np.uint64)
    for t in range(outputs):
        own = np.flatnonzero(steps[:, 1] == t)
        ends = sums[position[own]]
        result[own] = ends[..., outputs - t + 1 : outputs - t + 1 + n] - ends[..., 1 : n + 1]
    return result
