"""Torus words: conversion to bytes, sums over parties, and rounding to messages."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engines.levelled.parameters import MODULUS_BITS, WORD_BYTES
from utils.errors import MalformedMessage

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]


def words_to_bytes(words: Words) -> bytes:
    """Encode words, little endian, with all 64 bits."""
    return words.astype("<u8", copy=False).tobytes()


def words_from_bytes(data: bytes | memoryview, count: int) -> Words:
    """Decode words, shape (count,); raises MalformedMessage if the length is wrong."""
    if len(data) != count * WORD_BYTES:
        raise MalformedMessage(
            f"A share has {len(data)} bytes instead of {count * WORD_BYTES}; it must be sent again."
        )
    return np.frombuffer(data, "<u8").astype(np.uint64)


def sum_of_words(parts: Mapping[str, bytes], count: int) -> Words:
    """Return the sum modulo q of the parties' words, shape (count,); raises MalformedMessage."""
    total = np.zeros(count, np.uint64)
    for part in parts.values():
        total += words_from_bytes(part, count)
    return total


def round_to_bits(phases: Words, bits: int) -> Integers:
    """Round to the nearest multiples of q/2^bits, returned as signed integers of `bits` bits."""
    dropped = MODULUS_BITS - bits
    return (phases + np.uint64(1 << (dropped - 1))).view(np.int64) >> np.int64(dropped)
