"""GGSW ciphertexts of bits, and their encoding as bytes.

A ciphertext of the bit m has 2l rows (mask, body) with phase = body - mask·S. Rows 0 … l-1 carry
the message on the mask (phase -m·g_j·S), rows l … 2l-1 on the body (phase m·g_j); within both, the
most significant gadget element comes first. The external product with it multiplies by m:

    Σ_j digit_j(c.mask) · row_j  +  Σ_j digit_j(c.body) · row_(l+j)

Encoded words have only their most significant bytes, since the others are far below the noise. A
mask cannot be replaced by a seed, as under a secret key.

Sources: Gentry, Sahai, Waters (CRYPTO 2013); Chillotti, Gama, Georgieva, Izabachène, "TFHE: Fast
Fully Homomorphic Encryption over the Torus", J. Cryptology 33 (2020), section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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

    def at(self, positions: NDArray[np.intp]) -> Ggsw:
        """Return the ciphertexts of the bits at these positions."""
        return Ggsw(self.masks[positions], self.bodies[positions])

    def cut(self, parameters: Parameters) -> Ggsw:
        """Return the ciphertexts with words rounded to the bits that are sent; idempotent."""
        return Ggsw(_cut(self.masks, parameters.mask_bits), _cut(self.bodies, parameters.body_bits))

    def transform(self) -> Spectrum:
        """Return the transforms of mask and body, in this order, shape (bits, 2l, 2, N/2)."""
        bits, rows, n = self.masks.shape
        values = np.empty((bits, rows, 2, n // 2), np.complex128)
        values[:, :, 0] = forward(self.masks)
        values[:, :, 1] = forward(self.bodies)
        return values

    def to_bytes(self, parameters: Parameters) -> bytes:
        """Return the rounded words, little endian: all masks, then all bodies, in array order."""
        short = self.cut(parameters)
        return _pack(short.masks, parameters.mask_bits) + _pack(short.bodies, parameters.body_bits)

    def one(self, position: int) -> Ggsw:
        """Return the ciphertext of one bit."""
        return Ggsw(self.masks[position : position + 1], self.bodies[position : position + 1])

    def row(self, position: int, row: int) -> tuple[Words, Words]:
        """Return mask and body of one row, each of shape (N,)."""
        return self.masks[position, row], self.bodies[position, row]

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, bits: int, parameters: Parameters) -> Ggsw:
        """Decode the ciphertexts of `bits` bits; raises MalformedMessage if the length is wrong."""
        return EncodedGgsw(data, bits, parameters).decode()

    @classmethod
    def joined(cls, parts: list[Ggsw]) -> Ggsw:
        """Concatenate the ciphertexts of several parties."""
        return cls(
            np.concatenate([part.masks for part in parts]),
            np.concatenate([part.bodies for part in parts]),
        )


class EncodedGgsw:
    """Ciphertexts as they were sent, of which one bit or row is decoded when it is needed.

    An evaluation needs all rows of few bits, and one row of all others; decoding no more than that
    leaves most of ten megabytes unread, and a bit's words in the cache until their transform.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        bits: int,
        parameters: Parameters,
        wanted: NDArray[np.intp] | None = None,
    ) -> None:
        """`data` encodes `bits` bits, of which those at `wanted` count, or else all.

        Raises MalformedMessage if the length is wrong.
        """
        if len(data) != parameters.ggsw_bytes(bits):
            raise MalformedMessage(
                f"The ciphertexts of {bits} bits have {len(data)} bytes instead of "
                f"{parameters.ggsw_bytes(bits)}; encrypt and send them again."
            )
        self._parameters = parameters
        self._wanted = np.arange(bits) if wanted is None else wanted
        split = bits * parameters.rows * parameters.n * parameters.mask_bits // 8
        octets = np.frombuffer(data, np.uint8)
        self._masks = octets[:split].reshape(bits, parameters.rows, -1)
        self._bodies = octets[split:].reshape(bits, parameters.rows, -1)

    @property
    def bits(self) -> int:
        return len(self._wanted)

    def one(self, position: int) -> Ggsw:
        """Decode the ciphertext of one bit."""
        shape = (1, self._parameters.rows, self._parameters.n)
        return Ggsw(*self._words(self._wanted[position], shape))

    def row(self, position: int, row: int) -> tuple[Words, Words]:
        """Decode mask and body of one row, each of shape (N,)."""
        return self._words((self._wanted[position], row), (self._parameters.n,))

    def decode(self) -> Ggsw:
        """Decode all of the wanted bits."""
        shape = (self.bits, self._parameters.rows, self._parameters.n)
        return Ggsw(*self._words(self._wanted, shape))

    def _words(self, index: Any, shape: tuple[int, ...]) -> tuple[Words, Words]:
        """Decode masks and bodies at an index of (bits, rows), each as words of that shape."""
        own = self._parameters
        return (
            _unpack(self._masks[index].ravel(), shape, own.mask_bits),
            _unpack(self._bodies[index].ravel(), shape, own.body_bits),
        )


def _cut(words: Words, bits: int) -> Words:
    """Round words so that their last 64 - bits bits are 0; the largest wrap around to 0."""
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
    # Read whole words at every `size` bytes, five times as fast as byte by byte, and shift out the
    # bytes of the next word. The last word has no successor and is read on its own.
    overlapping: Words = np.ndarray((len(words) - 1,), "<u8", data, strides=(size,))
    np.left_shift(overlapping, np.uint64(MODULUS_BITS - bits), out=words[:-1])
    words[-1] = int.from_bytes(data[-size:].tobytes(), "little") << (MODULUS_BITS - bits)
    return words.reshape(shape)


def _octets(words: Words) -> NDArray[np.uint8]:
    """Return a view of the bytes of little-endian words, shape (words, 8)."""
    return words.reshape(-1).view(np.uint8).reshape(-1, WORD_BYTES)
