"""The sign of a masked score, computed under encryption from the parties' encrypted masks.

A masked opening makes y = phase - Σ w_p public. With x, the K top bits of y plus a public offset,
and w_p's K top bits, the most significant bit of T = x + Σ w_p mod 2^K is 0 for scores of 0 or more
(approved) and 1 for negative ones (denied). The offset of half a score step puts scores 0 and -1
equally far from the border. Dropping the lower bits of y plus the offset costs nothing, since the
sum of the words' top bits has none.

T is never formed. The result is read from a table by CMUXes, one external product each, from the
most significant bits to the least:

1. The R top bits rotate. The accumulator is X^(-s·x_top)·Σ_k X^(s·k)/4 for k < N/s, a public
   constant, plus a cover; each bit of weight 2^i of each mask multiplies it by X^(-s·2^i) or by 1.
   Since X^N = -1 and s·2^R = 2N, coefficient 0 is then 1/4 or -1/4 by the top bit of the sum.
2. The other bits are a branching program over the carry. A carry c into the rotated part multiplies
   the accumulator by X^(-s·c). Below, a level's value for carry c is that of the level above for
   carry (c + x_i + Σ w_p,i) div 2, selected by one bit of one mask at a time, for all partial sums
   that some carry reaches. Partial sums that lead to the same carry need no product.

All sums of output j are multiplied by X^j. Since only every s-th coefficient of an accumulator is
not 0, the sum over all outputs has sign j on coefficient j. No other coefficient is opened: that
they are 0 up to s - 1 holds for masks of bits only, which nobody checks.

The cover is an encryption of zero, expanded from a hash of all masks as they were sent. It hides
nothing, but makes the digits of all products unforeseeable. Without it, those of the first product,
on a public constant, are known before masks are chosen. The first party could then send rows that
are no ciphertext of a bit, but a table of its own or another party's ciphertexts divided by these
digits, and have bits of the score or of another's record opened beside the sign, within the
tolerance, so that no reader notices (tests/privacy/test_masks_of_other_numbers.py). With unknown
digits, such rows turn the result into random words.

What is left to forged masks is one bit for each sign. Let all factors of a party's rows generate,
with 1, the group L of real numbers: the integers for polynomials of integers. A CMUX adds factors
times the difference of two nodes, whose phases differ by multiples of 1/2 wherever a table has
values, plus unknown integers, by which the digits' product with the secret exceeds the torus. A
sign so opens at 1/4 plus a multiple of 1/2 of elements of L, plus an unknown element of L: of what
is known, one bit, the coset of L. For integers this is the sign or its opposite, exactly. For
fractions the multiple of the fraction is as good as uniform (of a standard deviation of 18 units
for three parties), which hides the sign itself, and half of the fraction tells one other bit.

Sources: Chillotti, Gama, Georgieva, Izabachène, J. Cryptology 33 (2020), sections 3.4 (CMUX), 5.1
(automata, from the last transition to the first) and 4.3 (rotation of a table).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from engines.levelled.exact_products import products, transformed
from engines.levelled.ggsw import EncodedGgsw, Ggsw
from engines.levelled.keys import PublicKey
from engines.levelled.masks import MaskFormat
from engines.levelled.opening import Result, opened, require_zeros
from engines.levelled.parameters import MODULUS_BITS, SIGN_BITS, Parameters
from engines.levelled.randomness import Expander
from engines.levelled.ring import Spectrum, forward
from engines.levelled.words import Integers, Words
from utils.errors import OpeningFailed

_QUARTER = np.uint64(1 << (MODULUS_BITS - SIGN_BITS))
_MOST_ROTATED = 8


def rotated_bits(n: int, outputs: int, word_bits: int) -> int:
    """Return R, the number of a word's top bits that rotate: 8 for N = 2048 and up to 16 outputs.

    At most so many that all signs fit between two multiples of s = 2N / 2^R.
    """
    return min((2 * n // outputs).bit_length() - 1, _MOST_ROTATED, word_bits)


def table_cover(key: PublicKey, seed: bytes, outputs: int) -> Words:
    """Return encryptions of zero to cover the tables of a comparison, shape (outputs, 2, N).

    `seed`, 32 bytes, must be a hash of all parties' masks as they were sent. There is no noise,
    since the encryptions hide nothing. Exact, so that every machine computes the same words.
    """
    small = forward(Expander(seed).ternary((outputs, len(key.body))))
    mask, body = key.prepared
    return np.stack([mask.times(small), body.times(small)], axis=1)


def signs(
    y: Words, masks: Sequence[Ggsw | EncodedGgsw], mask_format: MaskFormat, cover: Words
) -> tuple[Words, Words]:
    """Return mask and body, shape (N,) each, of the signs of masked scores y, shape (outputs,).

    As `looked_up`: coefficient j of the phase is 1/4 if score j is 0 or more, else -1/4.
    """
    rotating = rotated_bits(mask_format.parameters.n, len(y), mask_format.word_bits)
    return looked_up(y, masks, mask_format, cover, np.full(1 << (rotating - 1), _QUARTER))


def looked_up(
    y: Words,
    masks: Sequence[Ggsw | EncodedGgsw],
    mask_format: MaskFormat,
    cover: Words,
    table: Words,
) -> tuple[Words, Words]:
    """Return mask and body, shape (N,) each, of the table's values for masked scores y, (outputs,).

    `masks` are all parties' decoded masks of these scores, and `cover` is that of `table_cover` for
    them. Coefficient j of the phase is table[t], of shape (2^(R-1),), if the R top bits of score j
    are t < 2^(R-1), else -table[t - 2^(R-1)]. Deterministic, and the same words on every machine.
    Raises ValueError unless there is a mask of every party, each of one word per score.
    """
    n, outputs, kept = mask_format.parameters.n, len(y), mask_format.word_bits
    if [mask.bits for mask in masks] != [outputs * kept] * mask_format.parties:
        raise ValueError("a comparison needs one encrypted word per score of every party")
    rotating = rotated_bits(n, outputs, kept)
    stride = 2 * n >> rotating
    x = ((y + np.uint64(mask_format.offset)) >> np.uint64(MODULUS_BITS - kept)).astype(np.int64)
    nodes = _turned_tables(table, x >> (kept - rotating), n) + cover
    for place in range(rotating):
        turn = -stride << (rotating - 1 - place)
        for mask in masks:
            selectors = _selectors(mask, place, outputs, mask_format.parameters)
            nodes += products(
                selectors, np.arange(outputs), turned(nodes, turn) - nodes, mask_format.parameters
            )
    bits = x[:, None] >> np.arange(kept - rotating) & 1
    nodes = _carried(nodes, bits, stride, masks, mask_format)
    mask, body = nodes.sum(axis=0, dtype=np.uint64)
    return mask, body


def _turned_tables(table: Words, tops: Integers, n: int) -> Words:
    """Return the noiseless accumulators of outputs with these top bits, shape (outputs, 2, N)."""
    stride = n // len(table)
    nodes = np.zeros((len(tops), 2, n), np.uint64)
    nodes[:, 1, ::stride] = table
    return np.stack(
        [turned(node, j - stride * int(tops[j])) for j, node in enumerate(nodes)],
    )


def _carried(
    nodes: Words,
    bits: Integers,
    stride: int,
    masks: Sequence[Ggsw | EncodedGgsw],
    mask_format: MaskFormat,
) -> Words:
    """Return the values for carry 0 into the least significant bit, shape (outputs, 2, N).

    `nodes` (outputs, 2, N) are the rotated accumulators, `bits` (outputs, levels) the other bits of
    x, least significant first.
    """
    outputs, levels = bits.shape
    carries = largest_carries(bits, len(masks))
    at = [np.full(count + 1, j) for j, count in enumerate(carries[:, levels])]
    turns = -stride * np.concatenate([np.arange(len(own)) for own in at])
    nodes = np.stack(
        [turned(nodes[j], int(t)) for j, t in zip(np.concatenate(at), turns, strict=True)]
    )
    at = _numbered([len(own) for own in at])
    for level in reversed(range(levels)):
        # `at` has the node of every carry out of this level, then of every sum of the bits added.
        sums = [np.arange(most + len(masks) + 1) for most in carries[:, level]]
        at = [at[j][own + bits[j, level] >> 1] for j, own in enumerate(sums)]
        place = mask_format.word_bits - 1 - level
        for mask in reversed(masks):
            selectors = _selectors(mask, place, outputs, mask_format.parameters)
            low = np.concatenate([own[:-1] for own in at])
            high = np.concatenate([own[1:] for own in at])
            which = np.repeat(np.arange(outputs), [len(own) - 1 for own in at])
            differ = low != high
            sources, nodes = nodes, nodes[low]
            nodes[differ] += products(
                selectors,
                which[differ],
                sources[high[differ]] - sources[low[differ]],
                mask_format.parameters,
            )
            at = _numbered([len(own) - 1 for own in at])
    return nodes


def largest_carries(bits: Integers, parties: int) -> Integers:
    """Return the largest carry into each bit and out of the last, shape (outputs, levels + 1).

    All smaller ones are reached as well. `bits` are those of x, least significant first.
    """
    outputs, levels = bits.shape
    carries = np.zeros((outputs, levels + 1), np.int64)
    for level in range(levels):
        carries[:, level + 1] = carries[:, level] + bits[:, level] + parties >> 1
    return carries


def _numbered(counts: Sequence[int]) -> list[NDArray[np.intp]]:
    """Return consecutive numbers, divided into arrays of these lengths."""
    return np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])


def _selectors(
    mask: Ggsw | EncodedGgsw, place: int, outputs: int, parameters: Parameters
) -> Spectrum:
    """Return the transforms of one bit of every word, shape (outputs, 2l, limbs, N/2)."""
    word_bits = mask.bits // outputs
    return np.stack(
        [transformed(mask.one(j * word_bits + place), parameters) for j in range(outputs)]
    )


def turned(polynomials: Words, amount: int) -> Words:
    """Return the products of polynomials, shape (..., N), with X^amount modulo X^N + 1."""
    n = polynomials.shape[-1]
    odd, shift = divmod(amount % (2 * n), n)
    result = np.empty_like(polynomials)
    result[..., shift:] = polynomials[..., : n - shift]
    np.negative(polynomials[..., n - shift :], out=result[..., :shift])
    return np.negative(result, out=result) if odd else result


def combined(
    results: Sequence[Result], shares: Sequence[Mapping[str, bytes]], bits: int
) -> Integers:
    """Return the values of so many bits, signed, that all parties' shares open, (outputs,).

    The results are those of a comparison and of the known zeros. Raises OpeningFailed if the known
    zeros are not 0, and MalformedMessage.
    """
    values, zeros = (
        opened(result, given, bits) for result, given in zip(results, shares, strict=True)
    )
    require_zeros(zeros)
    return values


def combine_signs(
    results: Sequence[Result], shares: Sequence[Mapping[str, bytes]]
) -> NDArray[np.bool_]:
    """Return whether each score is 0 or more, shape (outputs,), from all parties' shares.

    The results are those of the signs and of the known zeros. A value is accepted within 1/8 of
    ±1/4, for which the budget's noise is sufficient. Raises OpeningFailed for any other, or if the
    known zeros are not 0, and MalformedMessage.
    """
    values = combined(results, shares, SIGN_BITS)
    if not (np.abs(values) == 1).all():
        raise OpeningFailed(
            "The opened result is neither approved nor denied: a share or a mask is wrong, or the "
            "server evaluated something else. Open a new application."
        )
    approved: NDArray[np.bool_] = values > 0
    return approved
