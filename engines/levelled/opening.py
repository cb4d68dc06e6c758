"""Opening a result: re-randomisation by the server, and decryption shares of all parties.

A fresh encryption of zero hides the mask, which parties could otherwise trace back to their own
encryption randomness. Flooding hides most of the information about the model in the noise of the
body. A party's share is (mask·S_p)[0..K) + smudge_p + zero_p. The smudge is a
deterministic function of the party's key and the result, so that repeated requests do not average
it out. The zero shares are derived from pairwise keys and cancel in the sum, so that the shares
reveal nothing but their sum.

After the scores, KNOWN_ZEROS further coefficients are opened, which every program leaves at 0; with
signs, those of an encryption of zero are (results.py). With an arbitrary wrong share they are all 0
with probability 2^-(8·score bits) only. They do not detect a party that adds a number of its choice
to a score alone.

Source: Mouchet, Troncoso-Pastoriza, Bossuat, Hubaux, PETS 2021, protocol DecShare; Cramer, Damgård,
Ishai, TCC 2005, for pseudorandom sharing of zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engines.levelled.bounds import check_coefficients
from engines.levelled.encryption import zeros
from engines.levelled.keys import PublicKey, SecretShare
from engines.levelled.parameters import (
    KNOWN_ZEROS,
    MODULUS_BITS,
    SEED_BYTES,
    Parameters,
)
from engines.levelled.randomness import Expander, derive
from engines.levelled.words import (
    Integers,
    Words,
    round_to_bits,
    sum_of_words,
    words_from_bytes,
    words_to_bytes,
)
from utils.errors import MalformedMessage, OpeningFailed

TOLERANCE_LOG = -26
"""log2 of the largest difference, in units of the torus, between two evaluations of one program.

Processors round double precision differently: without AVX2 and FMA most words differ, by up to
2^-29. A server can use the rest of the tolerance: 2^-26 a word changes a phase by about 2^-20,
less than any party's smudge."""
_MOST = np.uint64(1 << (MODULUS_BITS + TOLERANCE_LOG))


@dataclass(frozen=True)
class Result:
    """A result as sent to the parties: `mask` (N,) and `bodies` (coefficients,), to be opened."""

    mask: Words
    bodies: Words

    def to_bytes(self) -> bytes:
        return words_to_bytes(self.mask) + words_to_bytes(self.bodies)

    @classmethod
    def from_bytes(
        cls, payload: bytes | memoryview, parameters: Parameters, coefficients: int
    ) -> Result:
        """Decode a result; raises MalformedMessage if its length is wrong."""
        if len(payload) != parameters.result_bytes(coefficients):
            raise MalformedMessage(
                f"The result has {len(payload)} bytes instead of "
                f"{parameters.result_bytes(coefficients)}; fetch it again."
            )
        bodies = parameters.polynomial_bytes
        return cls(
            words_from_bytes(payload[:bodies], parameters.n),
            words_from_bytes(payload[bodies:], coefficients),
        )

    def equals(self, other: Result) -> bool:
        """Return True if every word differs by at most TOLERANCE, in units of the torus.

        The results must have the same numbers of words.
        """
        difference = np.concatenate((self.mask - other.mask, self.bodies - other.bodies))
        # The distance on the torus, in words without a sign: -2^63 has no absolute value in int64.
        return bool((difference + _MOST <= np.uint64(2) * _MOST).all())


def rerandomise(
    mask: Words,
    body: Words,
    count: int,
    sigma_flood: float,
    key: PublicKey,
    parameters: Parameters,
    randomness: Expander,
) -> Result:
    """Re-randomise an outcome, mask and body (N,) each; `count` coefficients of it are opened."""
    zero_masks, zero_bodies = zeros(key, 1, parameters, randomness)
    flood = randomness.gaussian(count, sigma_flood)
    return Result(mask + zero_masks[0], body[:count] + zero_bodies[0, :count] + flood)


def partial(
    result: Result,
    digest: bytes,
    party: str,
    key: PublicKey,
    secret: SecretShare,
    sigma_smudge: float,
    pairwise: Mapping[str, bytes],
) -> bytes:
    """Return a party's decryption share of the result in the message with this digest.

    Deterministic. Raises MalformedMessage if a pairwise key has the wrong length, and
    UnsafeParameters for more coefficients than any opening has.
    """
    outputs = len(result.bodies)
    check_coefficients(outputs)
    smudges = Expander(derive(secret.smudge_key, "smudge", key.digest, digest))
    part = secret.opens(result.mask, outputs) + smudges.gaussian(outputs, sigma_smudge)
    for other in sorted(pairwise):
        if len(pairwise[other]) != SEED_BYTES:
            raise MalformedMessage(f"The key shared with {other[:40]} is not 32 bytes long.")
        zero = Expander(derive(pairwise[other], "zero", digest)).uniform_words(outputs)
        part = part + zero if other > party else part - zero
    return words_to_bytes(part)


def opened(result: Result, partials: Mapping[str, bytes], score_bits: int) -> Integers:
    """Return the values that the shares open, shape (coefficients,), unchecked.

    Raises MalformedMessage.
    """
    return round_to_bits(result.bodies - sum_of_words(partials, len(result.bodies)), score_bits)


def combine(result: Result, partials: Mapping[str, bytes], score_bits: int) -> Integers:
    """Return the scores, shape (outputs,), from all parties' decryption shares.

    Raises OpeningFailed if the known zeros are not 0, and MalformedMessage.
    """
    values = opened(result, partials, score_bits)
    require_zeros(values[-KNOWN_ZEROS:])
    return values[:-KNOWN_ZEROS]


def require_zeros(values: Integers) -> None:
    """Raise OpeningFailed unless the values that the known zeros open to are 0."""
    if values.any():
        raise OpeningFailed(
            "The parties' shares do not open this result: a share is wrong, or belongs to another "
            "key or result. The values cannot be trusted; open a new application."
        )
