"""Levels of masked points: a comparison (comparison.py) with several edges in place of one.

A sign is read from a table with the same value everywhere, so that only the top bit of the score
decides. For levels, a public constant moves all points that are possible into the lower half of the
range, where the top bit is 0, and the table is a staircase: its value at a position is level/8.
Edges lie where positions begin, and like the border of a sign, each of them has half a step of the
score on either side. So levels cost as much as signs, and differ only in the tolerance of the
second opening: 1/16 in place of 1/8.

The argument of comparison.py holds for any table. Its values, and so the differences of nodes, are
multiples of 1/8 here, in place of 1/2. With forged masks, a level opens as an element of L/8, plus
an unknown element of L. Words have 64 bits, so that L consists of all multiples of one number, and
L/8 has 8 cosets of L: what opens tells LEVEL_BITS bits, at most. For masks of integers this is a
level of the forger's choice among the 8, by a function of its choice of the points' bits; for
fractions of integers, what opens is hidden but for the coset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engines.levelled.comparison import combined, looked_up, rotated_bits
from engines.levelled.ggsw import EncodedGgsw, Ggsw
from engines.levelled.masks import MaskFormat
from engines.levelled.opening import Result
from engines.levelled.parameters import LEVEL_BITS, MODULUS_BITS
from engines.levelled.words import Integers, Words
from model.levels import LEVELS, levels_of, position_points, shift, valid_edges


def levels(
    y: Words,
    masks: Sequence[Ggsw | EncodedGgsw],
    mask_format: MaskFormat,
    cover: Words,
    low: int,
    edges: Sequence[int],
) -> tuple[Words, Words]:
    """Return mask and body, shape (N,) each, of the levels of masked points y, shape (outputs,).

    As `looked_up`: coefficient j of the phase is level/8. `low` is the least of all possible
    points. Raises ValueError if the edges are not valid (model/levels.py).
    """
    rotating = rotated_bits(mask_format.parameters.n, len(y), mask_format.word_bits)
    table = level_table(low, edges, mask_format.score_bits, len(y), rotating)
    added = np.uint64(shift(low, mask_format.score_bits, len(y)))
    moved = y + (added << np.uint64(MODULUS_BITS - mask_format.score_bits))
    return looked_up(moved, masks, mask_format, cover, table)


def level_table(
    low: int, edges: Sequence[int], score_bits: int, outputs: int, rotating: int
) -> Words:
    """Return the table of levels by the `rotating` top bits, shape (2^(rotating - 1),)."""
    unit = 1 << (score_bits - rotating)
    if not valid_edges(edges, score_bits, outputs) or unit != position_points(score_bits, outputs):
        raise ValueError("the edges of levels do not fit the table")
    first = np.arange(1 << (rotating - 1)) * unit - shift(low, score_bits, outputs)
    return levels_of(first, edges).astype(np.uint64) << np.uint64(MODULUS_BITS - LEVEL_BITS)


def combine_levels(results: Sequence[Result], shares: Sequence[Mapping[str, bytes]]) -> Integers:
    """Return the levels, 0 to 7, shape (outputs,), from all parties' shares.

    Every value is a level, so that only the known zeros detect a wrong share. Raises OpeningFailed
    if they are not 0, and MalformedMessage.
    """
    return combined(results, shares, LEVEL_BITS) % LEVELS
