"""Masks: keystreams of 64-bit words that are added to a vector modulo 2^64.

The mask of a pair is added by the lender whose name comes first and subtracted by the other, so
that it cancels in the sum. Each seed is used for one mask of one vector.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from engines.levelled.randomness import Expander
from engines.levelled.words import Words, words_to_bytes
from federated.aggregation.seeds import self_mask_key
from utils.errors import MalformedMessage

Vector = Words

MOST_NUMBERS = 23_000
"""Numbers of a vector, so that an upload in base64 fits into a message of 256 KiB."""
WORD_BYTES = 8


def masked(vector: Vector, me: str, own_seed: bytes, pair_seeds: Mapping[str, bytes]) -> Vector:
    """Return the vector with the lender's self-mask and its masks with the named other lenders."""
    total = vector + _stream(self_mask_key(own_seed), len(vector))
    for other, seed in pair_seeds.items():
        mask = _stream(seed, len(vector))
        if me < other:
            total += mask
        else:
            total -= mask
    return total


def opened(vectors: Iterable[Vector], own_seeds: Iterable[bytes], length: int) -> Vector:
    """Return the sum of a whole roster's masked vectors without their self-masks."""
    total = np.zeros(length, np.uint64)
    for vector in vectors:
        total += vector
    for seed in own_seeds:
        total -= _stream(self_mask_key(seed), length)
    return total


def vector_bytes(vector: Vector) -> bytes:
    """Return the vector as little-endian words; raises MalformedMessage for another array."""
    fits = isinstance(vector, np.ndarray) and vector.dtype == np.uint64 and vector.ndim == 1
    if not fits or not 0 < len(vector) <= MOST_NUMBERS:
        raise MalformedMessage(
            f"A secure sum takes a list of 1 to {MOST_NUMBERS} unsigned 64-bit integers. Reduce "
            "the columns or the depth of the plan."
        )
    return words_to_bytes(vector)


def _stream(key: bytes, length: int) -> Vector:
    return Expander(key).uniform_words(length)
