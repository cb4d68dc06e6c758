"""Opening a result: the server re-randomises, each party gives a part, anybody adds them up.

A fresh encryption of zero hides the mask, which parties could otherwise follow back to their own
encryption randomness; flooding hides most of what the noise of the body says of the model. A
party's part is (mask·S_p)[0..K) + smudge_p + zero_p. The smudge is a function of the party's key
and of the result, so that asking twice averages nothing out; the zero parts are shared pairwise and
cancel in the sum, so that only the sum of all parts says anything.

Behind the scores, KNOWN_ZEROS more coefficients are opened, to which no program adds anything. Any
other part than the right one, such as garbage, opens them to something else but with probability
2^-(8·score bits). A party that adds a number of its choice to a score alone is not found out so.

Source: Mouchet, Troncoso-Pastoriza, Bossuat, Hubaux, PETS 2021, protocol DecShare; Cramer, Damgård,
Ishai, TCC 2005, for pseudorandom sharing of zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from engines.levelled.encryption import zeros
from engines.levelled.keys import PublicKey, SecretShare
from engines.levelled.parameters import DIGEST_BYTES, KNOWN_ZEROS, SEED_BYTES, Parameters
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


@dataclass(frozen=True)
class Result:
    """A result as it is sent: `mask` (N,) and the `bodies` to open, (outputs + KNOWN_ZEROS,).

    `commitment` is that of the evaluation before it was re-randomised.
    """

    commitment: bytes
    mask: Words
    bodies: Words

    def to_bytes(self) -> bytes:
        return self.commitment + words_to_bytes(self.mask) + words_to_bytes(self.bodies)

    @classmethod
    def from_bytes(
        cls, payload: bytes | memoryview, parameters: Parameters, outputs: int
    ) -> Result:
        """Raises MalformedMessage where the length is wrong."""
        if len(payload) != parameters.result_bytes(outputs):
            raise MalformedMessage(
                f"A result of {len(payload)} bytes cannot be right "
                f"({parameters.result_bytes(outputs)} expected); fetch it again."
            )
        bodies = DIGEST_BYTES + parameters.polynomial_bytes
        return cls(
            bytes(payload[:DIGEST_BYTES]),
            words_from_bytes(payload[DIGEST_BYTES:bodies], parameters.n),
            words_from_bytes(payload[bodies:], outputs + KNOWN_ZEROS),
        )


def commitment(mask: Words, body: Words) -> bytes:
    """SHA-256 of an evaluation's deterministic outcome, mask and body (N,) each."""
    return hashlib.sha256(words_to_bytes(mask) + words_to_bytes(body)).digest()


def rerandomise(
    mask: Words,
    body: Words,
    outputs: int,
    sigma_flood: float,
    key: PublicKey,
    parameters: Parameters,
    randomness: Expander,
) -> Result:
    """The outcome (mask, body), shape (N,) each, made ready to send: its first `outputs` scores."""
    zero_masks, zero_bodies = zeros(key, 1, parameters, randomness)
    count = outputs + KNOWN_ZEROS
    flood = randomness.gaussian(count, sigma_flood)
    return Result(
        commitment(mask, body),
        mask + zero_masks[0],
        body[:count] + zero_bodies[0, :count] + flood,
    )


def partial(
    result: Result,
    digest: bytes,
    party: str,
    key: PublicKey,
    secret: SecretShare,
    sigma_smudge: float,
    pairwise: Mapping[str, bytes],
) -> bytes:
    """A party's part in opening the result whose message has that digest; always the same."""
    outputs = len(result.bodies)
    smudges = Expander(derive(secret.smudge_key, "smudge", key.digest, digest))
    part = secret.opens(result.mask, outputs) + smudges.gaussian(outputs, sigma_smudge)
    for other in sorted(pairwise):
        if len(pairwise[other]) != SEED_BYTES:
            raise MalformedMessage(f"The key shared with {other[:40]} does not have 32 bytes.")
        zero = Expander(derive(pairwise[other], "zero", digest)).uniform_words(outputs)
        part = part + zero if other > party else part - zero
    return words_to_bytes(part)


def opened(result: Result, partials: Mapping[str, bytes], score_bits: int) -> Integers:
    """What parts add up to, shape (outputs + KNOWN_ZEROS,), whatever it is worth.

    Raises MalformedMessage.
    """
    return round_to_bits(result.bodies - sum_of_words(partials, len(result.bodies)), score_bits)


def combine(result: Result, partials: Mapping[str, bytes], score_bits: int) -> Integers:
    """The scores, shape (outputs,), from all parties' parts.

    Raises OpeningFailed where the known zeros are none, MalformedMessage.
    """
    values = opened(result, partials, score_bits)
    if values[-KNOWN_ZEROS:].any():
        raise OpeningFailed(
            "The parties' parts do not open this result: a part is wrong, or belongs to another "
            "key or result. Nothing of it can be believed; open a new application."
        )
    return values[:-KNOWN_ZEROS]
