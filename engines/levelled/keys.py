"""The collective key: shares of the public key, and their sum.

Party p draws a ternary S_p and publishes B_p = A·S_p + E_p for a common random A; the public key
(A, ΣB_p) then belongs to the secret ΣS_p, which no party ever holds. Commitments in the protocol
prevent the last party from choosing its share after seeing the others'. A share without its secret
is detected by the known zeros of the first opening (opening.py).

Source: Mouchet, Troncoso-Pastoriza, Bossuat, Hubaux, "Multiparty Homomorphic Encryption from
Ring-Learning-with-Errors", PETS 2021, protocol EncKeyGen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from engines.levelled.parameters import SEED_BYTES, Parameters
from engines.levelled.randomness import Expander
from engines.levelled.ring import PreparedPoly, multiply_exact
from engines.levelled.words import (
    Integers,
    Words,
    sum_of_words,
    words_from_bytes,
    words_to_bytes,
)
from utils.errors import MalformedMessage

_SECRET_FORMAT = 1
_TERNARY_PER_BYTE = 4


@dataclass(frozen=True)
class PublicKey:
    """The seed of the mask A and the body B, shape (N,)."""

    common: bytes
    body: Words

    def to_bytes(self) -> bytes:
        return self.common + words_to_bytes(self.body)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, parameters: Parameters) -> PublicKey:
        """Decode a public key; raises MalformedMessage if its length is wrong."""
        if len(data) != parameters.public_key_bytes:
            raise MalformedMessage(
                f"The public key has {len(data)} bytes instead of {parameters.public_key_bytes}; "
                "make the keys again."
            )
        return cls(bytes(data[:SEED_BYTES]), words_from_bytes(data[SEED_BYTES:], parameters.n))

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the key's bytes, which encrypted inputs contain to identify their key."""
        return hashlib.sha256(self.to_bytes()).digest()

    @cached_property
    def mask(self) -> Words:
        """A, shape (N,)."""
        return common_mask(self.common, len(self.body))

    @cached_property
    def prepared(self) -> tuple[PreparedPoly, PreparedPoly]:
        """A and B, transformed once."""
        return PreparedPoly(self.mask), PreparedPoly(self.body)


@dataclass(frozen=True)
class SecretShare:
    """A party's secret: its ternary polynomial, shape (N,), and its key for smudging noise."""

    polynomial: Integers = field(repr=False)
    smudge_key: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return a format byte, the smudge key, and the coefficients, four per byte."""
        trits = (self.polynomial + 1).astype(np.uint8).reshape(-1, _TERNARY_PER_BYTE)
        packed = trits[:, 0] | trits[:, 1] << 2 | trits[:, 2] << 4 | trits[:, 3] << 6
        return bytes([_SECRET_FORMAT]) + self.smudge_key + packed.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, parameters: Parameters) -> SecretShare:
        """Decode a secret; raises MalformedMessage if it does not fit the parameters."""
        start = 1 + SEED_BYTES
        whole = len(data) == start + parameters.n // _TERNARY_PER_BYTE
        if not whole or data[0] != _SECRET_FORMAT:
            raise _unreadable_secret()
        packed = np.frombuffer(data, np.uint8, offset=start)
        trits = np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=-1).reshape(-1)
        if trits.max() > 2:
            raise _unreadable_secret()
        return cls(trits.astype(np.int64) - 1, data[1:start])

    def opens(self, mask: Words, count: int) -> Words:
        """Return the first coefficients of mask·S_p, shape (count,): a party's part of a phase."""
        return multiply_exact(mask, self.polynomial)[:count]


def _unreadable_secret() -> MalformedMessage:
    return MalformedMessage("The secret key file cannot be read; make the keys again.")


def common_mask(common: bytes, n: int) -> Words:
    """Return A, shape (n,), expanded from the common seed."""
    return Expander(common).uniform_words(n)


def key_share(
    common: bytes, parameters: Parameters, randomness: Expander
) -> tuple[SecretShare, bytes]:
    """Return a fresh secret S_p, and B_p = A·S_p + E_p as bytes."""
    secret = SecretShare(randomness.ternary(parameters.n), randomness.octets(SEED_BYTES).tobytes())
    noise = randomness.gaussian(parameters.n, parameters.sigma)
    product = multiply_exact(common_mask(common, parameters.n), secret.polynomial)
    return secret, words_to_bytes(product + noise)


def collective_key(common: bytes, shares: Mapping[str, bytes], parameters: Parameters) -> PublicKey:
    """Return the sum of all shares; raises MalformedMessage if a share has the wrong length."""
    return PublicKey(common, sum_of_words(shares, parameters.n))
