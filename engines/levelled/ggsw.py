"""GGSW ciphertexts of bits, as arrays and as bytes.

A ciphertext of the bit m has 2l rows (mask, body) with phase = body - mask·S. Rows 0 … l-1 carry
the message on the mask (phase -m·g_j·S), rows l … 2l-1 on the body (phase m·g_j); within both, the
most significant gadget element comes first. The external product with it multiplies by m:

    Σ_j digit_j(c.mask) · row_j  +  Σ_j digit_j(c.body) · row_(l+j)

On the wire a word keeps its most significant bytes only. A ciphertext under a public key cannot be
replaced by a seed, but it carries far more bits than its noise deserves.

Sources: Gentry, Sahai, Waters (CRYPTO 2013); Chillotti, Gama, Georgieva, Izabachène, "TFHE: Fast
Fully Homomorphic Encryption over the Torus", J. Cryptology 33 (2020), section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.levelled.parameters import MODULUS_BITS, WORD_BYTES, Parameters
from engines.levelled.ring import Spectrum, forward
from engines.levelled.words import Words
from utils.errors import MalformedMessage


@dataclass(frozen=True)
class Ggsw:
    """Ciphertexts of several bits; `masks` and `bodies` have shape (bits, 2l, N)."""

    masks: Words
    bodies: Words

    @property
    def bits(self) -> int:
        return len(self.masks)

    def cut(self, parameters: Parameters) -> Ggsw:
        """Words rounded to the bits that are sent; cutting again changes nothing."""
        return Ggsw(_cut(self.masks, parameters.mask_bits), _cut(self.bodies, parameters.body_bits))

    def transform(self) -> Spectrum:
        """Values at the roots, shape (bits, 2l, 2, N/2): of the mask, then of the body."""
        bits, rows, n = self.masks.shape
        values = np.empty((bits, rows, 2, n // 2), np.complex128)
        values[:, :, 0] = forward(self.masks)
        values[:, :, 1] = forward(self.bodies)
        return values

    def to_bytes(self, parameters: Parameters) -> bytes:
        """The cut words, little endian: all masks, then all bodies, in the order of the arrays."""
        short = self.cut(parameters)
        return _pack(short.masks, parameters.mask_bits) + _pack(short.bodies, parameters.body_bits)

    @classmethod
    def from_bytes(
        cls,
        data: bytes | memoryview,
        bits: int,
        parameters: Parameters,
        wanted: NDArray[np.intp] | None = None,
    ) -> Ggsw:
        """The ciphertexts of `bits` bits, or of those at the positions `wanted` alone.

        Raises MalformedMessage where the length is another.
        """
        if len(data) != parameters.ggsw_bytes(bits):
            raise MalformedMessage(
                f"{len(data)} bytes cannot be the ciphertexts of {bits} bits "
                f"({parameters.ggsw_bytes(bits)} expected); encrypt and send them again."
            )
        split = bits * parameters.rows * parameters.n * parameters.mask_bits // 8
        octets = np.frombuffer(data, np.uint8)
        masks, bodies = octets[:split].reshape(bits, -1), octets[split:].reshape(bits, -1)
        if wanted is not None:
            masks, bodies = masks[wanted], bodies[wanted]
        shape = (len(masks), parameters.rows, parameters.n)
        return cls(
            _unpack(masks.ravel(), shape, parameters.mask_bits),
            _unpack(bodies.ravel(), shape, parameters.body_bits),
        )

    @classmethod
    def joined(cls, parts: list[Ggsw]) -> Ggsw:
        """The ciphertexts of several parties, one after another."""
        return cls(
            np.concatenate([part.masks for part in parts]),
            np.concatenate([part.bodies for part in parts]),
        )


def _cut(words: Words, bits: int) -> Words:
    """The nearest words whose last 64 - bits bits are 0; the largest wrap around to 0."""
    if bits == MODULUS_BITS:
        return words
    dropped = MODULUS_BITS - bits
    rounded = words + np.uint64(1 << (dropped - 1))
    rounded >>= np.uint64(dropped)
    rounded <<= np.uint64(dropped)
    return rounded


def _pack(words: Words, bits: int) -> bytes:
    octets = _octets(words.astype("<u8", copy=False))
    packed = np.empty((len(octets), bits // 8), np.uint8)
    packed[:] = octets[:, WORD_BYTES - bits // 8 :]
    return packed.tobytes()


def _unpack(data: NDArray[np.uint8], shape: tuple[int, ...], bits: int) -> Words:
    size = bits // 8
    words = np.empty(math.prod(shape), np.uint64)
    if not len(words):
        return words.reshape(shape)
    # Whole words are read at every `size` bytes, five times as fast as byte by byte; what they
    # have of the next one is shifted out. The last one has no next.
    overlapping: Words = np.ndarray((len(words) - 1,), "<u8", data, strides=(size,))
    np.left_shift(overlapping, np.uint64(MODULUS_BITS - bits), out=words[:-1])
    words[-1] = int.from_bytes(data[-size:].tobytes(), "little") << (MODULUS_BITS - bits)
    return words.reshape(shape)


def _octets(words: Words) -> NDArray[np.uint8]:
    """The bytes of little-endian words as a view, shape (words, 8)."""
    return words.reshape(-1).view(np.uint8).reshape(-1, WORD_BYTES)
