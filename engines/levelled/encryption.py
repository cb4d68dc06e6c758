"""Encryption under the collective public key: of zero, and of bits as GGSW ciphertexts.

An encryption of zero is (A·u + e1, B·u + e2) with ternary u; its phase is u·E + e2 - e1·S. A row of
a GGSW ciphertext is a fresh encryption of zero, with the message times a gadget element added to
one constant coefficient.

Sources: Lyubashevsky, Peikert, Regev, "On Ideal Lattices and Learning with Errors over Rings",
EUROCRYPT 2010, for the zeros; Chillotti, Gama, Georgieva, Izabachène (J. Cryptology 2020) for GGSW.
"""

from __future__ import annotations

import numpy as np

from engines.levelled.ggsw import Ggsw
from engines.levelled.keys import PublicKey
from engines.levelled.parameters import Parameters
from engines.levelled.randomness import Expander
from engines.levelled.ring import forward
from engines.levelled.words import Words
from features.encoding import Bits

_CHUNK = 16  # rows at a time, so that their arrays fit into the cache


def zeros(
    key: PublicKey, rows: int, parameters: Parameters, randomness: Expander
) -> tuple[Words, Words]:
    """Return fresh encryptions of zero: masks and bodies, each of shape (rows, N)."""
    prepared_mask, prepared_body = key.prepared
    masks = np.empty((rows, parameters.n), np.uint64)
    bodies = np.empty_like(masks)
    for start in range(0, rows, _CHUNK):
        own = slice(start, min(start + _CHUNK, rows))
        shape = masks[own].shape
        spectrum = forward(randomness.ternary(shape))
        noise = randomness.gaussian((2, *shape), parameters.sigma)
        np.add(prepared_mask.times(spectrum), noise[0], out=masks[own])
        np.add(prepared_body.times(spectrum), noise[1], out=bodies[own])
    return masks, bodies


def encrypt_bits(bits: Bits, key: PublicKey, parameters: Parameters, randomness: Expander) -> Ggsw:
    """Encrypt bits, shape (bits,), with fresh randomness; the words have all 64 bits."""
    levels = parameters.levels
    shape = (len(bits), parameters.rows, parameters.n)
    masks, bodies = zeros(key, len(bits) * parameters.rows, parameters, randomness)
    masks, bodies = masks.reshape(shape), bodies.reshape(shape)
    gadget = np.array([parameters.gadget(level) for level in range(levels)])
    message = bits.astype(np.uint64)[:, None] * gadget
    masks[:, :levels, 0] += message
    bodies[:, levels:, 0] += message
    return Ggsw(masks, bodies)
