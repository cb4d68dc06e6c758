"""External products that are the same on every machine, bit for bit.

Double precision rounds differently with other instructions of a processor (with or without FMA).
In a chain of products, one different bit may change a digit of the next decomposition, and with it
all words that follow. The phases then still agree up to their noise, but the words do not, and a
result cannot be compared with that of another machine. Here, the rows' words are split into limbs
of at most 20 bits. The coefficients of a limb's products with digits of up to 21 bits are about
2^43.4 for random limbs, so that the transforms' error is below 0.01, and rounding is exact.

Source: Klemsa, "Fast and Error-Free Negacyclic Integer Convolution using Extended Fourier
Transform" (2021), for the error of a transform.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engines.levelled.ggsw import Ggsw
from engines.levelled.parameters import MODULUS_BITS, Parameters
from engines.levelled.ring import Spectrum, decompose, forward, inverse_exact
from engines.levelled.words import Integers, Words

LIMB_BITS = 20
_CHUNK = 16
"""Products at a time, so that their polynomials fit into a core's cache."""


def limbs(words: Words, bits: int) -> Integers:
    """Split words of which the `bits` most significant bits count, shape (...), into limbs.

    Returns shape (limbs, ...), least significant first: centred limbs of equal width.
    """
    count = -(-bits // LIMB_BITS)
    width = np.int64(-(-bits // count))
    half = np.int64(1) << (width - 1)
    rest = words.view(np.int64) >> np.int64(MODULUS_BITS - bits)
    split = np.empty((count, *words.shape), np.int64)
    for i in range(count - 1):
        split[i] = ((rest + half) & ((half << 1) - 1)) - half
        rest = (rest - split[i]) >> width
    split[-1] = rest
    return split


def _shifts(bits: int) -> list[int]:
    """Return the place of each limb's lowest bit in a word."""
    count = -(-bits // LIMB_BITS)
    width = -(-bits // count)
    return [MODULUS_BITS - bits + i * width for i in range(count)]


def transformed(bit: Ggsw, parameters: Parameters) -> Spectrum:
    """Return the transforms of one bit's limbs, those of the masks first: (2l, limbs, N/2)."""
    masks = limbs(bit.masks[0], parameters.mask_bits)
    bodies = limbs(bit.bodies[0], parameters.body_bits)
    return forward(np.concatenate([masks, bodies])).swapaxes(0, 1)


def products(
    selectors: Spectrum, which: NDArray[np.intp], nodes: Words, parameters: Parameters
) -> Words:
    """Return the external products of ciphertexts and bits, masks and bodies (m, 2, N).

    Product i multiplies `nodes[i]`, of shape (2, N), by bit number `which[i]` of `selectors`, of
    shape (bits, 2l, limbs, N/2). Exact if the limbs are of `transformed` and digits have at most 21
    bits.
    """
    result = np.empty_like(nodes)
    own_limbs, half = selectors.shape[2:]
    for first in range(0, len(nodes), _CHUNK):
        own = slice(first, first + _CHUNK)
        digits = decompose(nodes[own], parameters.base_log, parameters.levels)
        values = forward(digits.reshape(-1, parameters.rows, 1, 2 * half))
        sums = np.empty((len(values), own_limbs, half), np.complex128)
        for value, bit, total in zip(values, which[own], sums, strict=True):
            np.add.reduce(selectors[bit] * value, out=total)
        _join(inverse_exact(sums), parameters, result[own])
    return result


def _join(split: Words, parameters: Parameters, result: Words) -> None:
    """Write masks and bodies to `result` (m, 2, N), from products' limbs (m, limbs, N)."""
    mask_shifts, body_shifts = _shifts(parameters.mask_bits), _shifts(parameters.body_bits)
    split <<= np.array([*mask_shifts, *body_shifts], np.uint64)[:, None]
    np.add.reduce(split[:, : len(mask_shifts)], axis=1, out=result[:, 0])
    np.add.reduce(split[:, len(mask_shifts) :], axis=1, out=result[:, 1])
