"""The first opening of a program whose sign alone is to be known: scores stay masked.

As opening.py, except that party p adds its word w_p to its share of each score, in place of a
smudge, and the server adds no flooding to scores. Then y = phase - Σ w_p opens, which is uniform
and independent of the phase, and thus of score and noise, for whoever lacks one party's words.

Which noise is needed:

- None on scores. A share mask·S_p + w_p is itself uniform, so that it reveals nothing of S_p or of
  the noise, even to all other parties and the server together. Of w_p they have only encryptions of
  its top bits, under a key that needs S_p; the lower bits never leave the party. Noise on scores
  would only move them towards the border of the comparison.
- Flooding and smudges on the known zeros, as in opening.py, since these are opened without masks.
  They detect a share of another key or result, which would otherwise turn a decision unnoticed. Of
  ZERO_BITS only, they have room for wider noise than scores; a random share passes with
  probability 2^-64.
- Re-randomisation of the mask, as in opening.py. Parties that know all their encryption randomness
  could read the model's coefficients from the mask alone.

Source: as opening.py; the masks are one-time pads (Shannon 1949) on additive shares.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engines.levelled.keys import PublicKey, SecretShare
from engines.levelled.opening import Result, partial, rerandomise
from engines.levelled.parameters import KNOWN_ZEROS, ZERO_BITS, Parameters
from engines.levelled.randomness import Expander, derive
from engines.levelled.words import (
    Words,
    round_to_bits,
    sum_of_words,
    words_from_bytes,
    words_to_bytes,
)
from utils.errors import OpeningFailed


def rerandomise_for_masks(
    mask: Words,
    body: Words,
    count: int,
    sigma_flood: float,
    key: PublicKey,
    parameters: Parameters,
    randomness: Expander,
) -> Result:
    """Re-randomise an outcome, mask and body (N,) each; only the known zeros are flooded.

    `count` is that of all coefficients that are opened; the last KNOWN_ZEROS are the known zeros.
    """
    result = rerandomise(mask, body, count, 0.0, key, parameters, randomness)
    result.bodies[-KNOWN_ZEROS:] += randomness.gaussian(KNOWN_ZEROS, sigma_flood)
    return result


def masked_partial(
    result: Result,
    digest: bytes,
    party: str,
    key: PublicKey,
    secret: SecretShare,
    words: Words,
    sigma_smudge: float,
    pairwise: Mapping[str, bytes],
) -> bytes:
    """Return a party's share of the result in the message with this digest, masked by its words.

    `words`, shape (outputs,), must be used for one result only; the caller records which.
    Deterministic. Raises ValueError if there is not one word per score, and MalformedMessage if a
    pairwise key has the wrong length.
    """
    count = len(result.bodies)
    if len(words) != count - KNOWN_ZEROS:
        raise ValueError("a masked opening needs one word per score")
    bare = words_from_bytes(partial(result, digest, party, key, secret, 0.0, pairwise), count)
    smudges = Expander(derive(secret.smudge_key, "masked smudge", key.digest, digest))
    cover = np.concatenate([words, smudges.gaussian(KNOWN_ZEROS, sigma_smudge)])
    return words_to_bytes(bare + cover)


def masked_scores(result: Result, partials: Mapping[str, bytes]) -> Words:
    """Return y, shape (outputs,), from all parties' shares; public.

    Raises OpeningFailed if the known zeros are not 0, and MalformedMessage.
    """
    phases = result.bodies - sum_of_words(partials, len(result.bodies))
    if round_to_bits(phases[-KNOWN_ZEROS:], ZERO_BITS).any():
        raise OpeningFailed(
            "The parties' shares do not open this result: a share is wrong, or belongs to another "
            "key or result. Nothing is compared; open a new application."
        )
    masked: Words = phases[:-KNOWN_ZEROS]
    return masked
