"""Randomness: a keystream expanded from a 32-byte seed, and samples drawn from it.

Secrets are drawn from `Expander.fresh`, which the operating system seeds. Repeatable values (the
common public polynomial, known vectors, the smudge for a ciphertext) are drawn from a seed that
`derive` binds to its purpose. Uniform and ternary samples are the same on every machine; Gaussian
samples may differ in the last bit between mathematical libraries.

Sources: AES-256 in counter mode, NIST SP 800-38A; HKDF, RFC 5869; Box, Muller, Ann. Math. Stat. 29
(1958).
"""

from __future__ import annotations

import math
import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from engines.levelled.parameters import SEED_BYTES
from engines.levelled.words import Integers, Words
from utils.forks import generation

MAXIMUM_SIGMA = 2.0**-6
"""The widest Gaussian that is drawn; its values are all below a quarter of the torus."""

_GRID_SIGMA = 2.0**-20  # of up to 2^47 steps: fewer than 2^-5 of the values are rounded from ties

_TRITS = 5  # 3^5 = 243 of a byte's 256 values
_ACCEPTED = 3**_TRITS
_TERNARY = np.stack([np.arange(_ACCEPTED) // 3**i % 3 - 1 for i in range(_TRITS)], axis=1)
_ZEROS = bytes(1 << 20)


def derive(seed: bytes, *labels: str | bytes) -> bytes:
    """Derive 32 bytes from `seed` for the purpose named by the labels, by HKDF-SHA-256."""
    encoded = [label.encode() if isinstance(label, str) else label for label in labels]
    info = b"".join(len(label).to_bytes(4, "little") + label for label in encoded)
    return HKDF(SHA256(), SEED_BYTES, salt=b"triseal levelled", info=info).derive(seed)


class Expander:
    """A deterministic stream expanded from a 32-byte seed; each draw advances it."""

    def __init__(self, seed: bytes) -> None:
        """Raises ValueError if the seed is not 32 bytes long."""
        self._start(seed)

    @classmethod
    def fresh(cls) -> Expander:
        """Return a stream seeded by the operating system, and again in every forked process."""
        return _FreshExpander()

    def _start(self, seed: bytes) -> None:
        # The counter may start at 0, since every seed is used for one stream only.
        self._stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()

    def octets(self, count: int) -> NDArray[np.uint8]:
        """Draw uniform bytes, shape (count,)."""
        out = np.empty(count, np.uint8)
        view = out.data
        for start in range(0, count, len(_ZEROS)):
            part = view[start : start + len(_ZEROS)]
            self._stream.update_into(_ZEROS[: len(part)], part)
        return out

    def uniform_words(self, shape: int | tuple[int, ...]) -> Words:
        """Draw uniform 64-bit words."""
        octets = self.octets(8 * math.prod(_tuple(shape)))
        return octets.view("<u8").astype(np.uint64, copy=False).reshape(shape)

    def ternary(self, shape: int | tuple[int, ...]) -> Integers:
        """Draw uniformly from {-1, 0, 1}, five per byte below 243; other bytes are rejected."""
        count = math.prod(_tuple(shape))
        wanted = -(-count // _TRITS)
        kept = np.empty(0, np.uint8)
        while len(kept) < wanted:
            drawn = self.octets(wanted - len(kept) + wanted // 16 + 16)
            kept = np.concatenate((kept, drawn[drawn < _ACCEPTED]))
        trits: Integers = _TERNARY[kept[:wanted]].reshape(-1)[:count].reshape(shape)
        return trits

    def centred(self, shape: int | tuple[int, ...], bits: int) -> Integers:
        """Draw uniform integers from -2^(bits-1) to 2^(bits-1) - 1, with 1 to 32 bits."""
        drawn = self.octets(4 * math.prod(_tuple(shape))).view("<u4") >> np.uint32(32 - bits)
        return (drawn.astype(np.int64) - (1 << (bits - 1))).reshape(shape)

    def gaussian(self, shape: int | tuple[int, ...], sigma: float) -> Words:
        """Draw rounded Gaussian words of standard deviation `sigma`, in units of the torus.

        The tail is cut off at 8.6 sigma, which a Gaussian exceeds with probability 2^-56. Doubles
        have 53 bits, so the last bits of wide words would be biased or 0 and not cover those of
        what they are added to. A wide Gaussian is therefore drawn on a coarser grid, and the bits
        below are uniform. Raises ValueError if `sigma` exceeds MAXIMUM_SIGMA.
        """
        if sigma > MAXIMUM_SIGMA:
            raise ValueError(f"a Gaussian of {sigma} is too wide; use at most {MAXIMUM_SIGMA}")
        below = math.ceil(math.log2(sigma / _GRID_SIGMA)) if sigma > _GRID_SIGMA else 0
        count = math.prod(_tuple(shape))
        pairs = -(-count // 2)
        uniform = (self.uniform_words((2, pairs)) >> np.uint64(11)).astype(np.float64)
        radius = np.sqrt(-2 * np.log((uniform[0] + 1) * 2.0**-53)) * (sigma * 2.0 ** (64 - below))
        angle = uniform[1] * (2 * np.pi * 2.0**-53)
        normal = np.empty(2 * pairs)
        np.multiply(radius, np.cos(angle), out=normal[:pairs])
        np.multiply(radius, np.sin(angle), out=normal[pairs:])
        np.rint(normal, out=normal)
        words = normal[:count].astype(np.int64).view(np.uint64)
        if below:
            words <<= np.uint64(below)
            words += self.uniform_words(count) >> np.uint64(64 - below)
            words -= np.uint64(1 << (below - 1))
        return words.reshape(shape)


class _FreshExpander(Expander):
    """A stream seeded by the operating system, and seeded again after a fork."""

    def __init__(self) -> None:
        super().__init__(os.urandom(SEED_BYTES))
        self._generation = generation()

    def octets(self, count: int) -> NDArray[np.uint8]:
        if self._generation != generation():  # the parent continues with the same stream
            self._start(os.urandom(SEED_BYTES))
            self._generation = generation()
        return super().octets(count)


def _tuple(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else shape
