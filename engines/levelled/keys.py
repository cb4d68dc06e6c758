"""The collective key: shares of the public key, their sum, and its check on a known vector.

Party p draws a ternary S_p and publishes B_p = A·S_p + E_p for a common random A; the public key
(A, ΣB_p) then belongs to the secret ΣS_p, which no party ever holds. Commitments in the protocol
prevent the last party from choosing its share after seeing the others'.

The known vector is an encryption, with public randomness, of digits derived from the public key's
digest. It detects faults: an altered share, a lost secret or a key made of other shares gives
random digits, which pass with probability 2^-64. It does not detect a dishonest party, since with
public randomness u·B_p can replace A·u·S_p; the known zeros of an opening do. The smudging noise of
a check share is 2^30 times wider than what its noise could reveal about E_p.

Source: Mouchet, Troncoso-Pastoriza, Bossuat, Hubaux, "Multiparty Homomorphic Encryption from
Ring-Learning-with-Errors", PETS 2021, protocols EncKeyGen and DecShare.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from engines.levelled.parameters import (
    MODULUS_BITS,
    SEED_BYTES,
    Parameters,
)
from engines.levelled.randomness import Expander, derive
from engines.levelled.ring import PreparedPoly, forward, multiply_exact
from engines.levelled.words import (
    Integers,
    Words,
    round_to_bits,
    sum_of_words,
    words_from_bytes,
    words_to_bytes,
)
from utils.errors import KeyCheckFailed, MalformedMessage

CHECK_COEFFICIENTS = 16
CHECK_BITS = 4
CHECK_SIGMA_LOG = -14
"""log2 of σ of the sum of all check smudges, in units of the torus; half a step is 2^-5."""

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


@dataclass(frozen=True)
class _KnownVector:
    """An encryption, mask (N,) and body (16,), of the public `digits`, shape (16,)."""

    mask: Words
    body: Words
    digits: Words


def _known_vector(key: PublicKey) -> _KnownVector:
    """Derive the known vector from the key's digest, exactly, so that all parties get the same."""
    n = len(key.body)
    randomness = Expander(derive(key.digest, "known vector"))
    product = forward(randomness.ternary(n))
    digits = randomness.uniform_words(CHECK_COEFFICIENTS) >> np.uint64(MODULUS_BITS - CHECK_BITS)
    mask, body = (polynomial.times(product) for polynomial in key.prepared)
    message = digits << np.uint64(MODULUS_BITS - CHECK_BITS)
    return _KnownVector(mask, body[:CHECK_COEFFICIENTS] + message, digits)


def check_sigma(parties: int) -> float:
    """Return σ of one party's smudge on the known vector, in units of the torus."""
    return 2.0**CHECK_SIGMA_LOG / math.sqrt(parties)


def check_share(key: PublicKey, secret: SecretShare, parties: int) -> bytes:
    """Return a party's decryption share of the known vector; deterministic."""
    smudges = Expander(derive(secret.smudge_key, "check", key.digest))
    smudge = smudges.gaussian(CHECK_COEFFICIENTS, check_sigma(parties))
    return words_to_bytes(secret.opens(_known_vector(key).mask, CHECK_COEFFICIENTS) + smudge)


def check_key(key: PublicKey, shares: Mapping[str, bytes]) -> None:
    """Raise KeyCheckFailed if the shares do not open the known vector; raises MalformedMessage."""
    vector = _known_vector(key)
    opened = round_to_bits(vector.body - sum_of_words(shares, CHECK_COEFFICIENTS), CHECK_BITS)
    if not np.array_equal(opened.view(np.uint64) % (1 << CHECK_BITS), vector.digits):
        raise KeyCheckFailed(
            "The parties' shares do not match the public key: a share was altered in transit, or a "
            "party lost its secret. Open a new application and make new keys."
        )
