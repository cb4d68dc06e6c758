"""Words: conversion to bytes, sums and rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.levelled.words import round_to_bits, sum_of_words, words_from_bytes, words_to_bytes
from tests.strategies import QUICK
from utils.errors import MalformedMessage

WORDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8)


@QUICK
@given(WORDS)
def test_words_round_trip_little_endian(values):
    data = words_to_bytes(np.array(values, np.uint64))
    assert data == b"".join(value.to_bytes(8, "little") for value in values)
    assert words_from_bytes(data, len(values)).tolist() == values


def test_words_of_wrong_length_are_refused():
    for size in (0, 7, 15, 17, 24):
        with pytest.raises(MalformedMessage, match="instead of 16"):
            words_from_bytes(bytes(size), 2)


@QUICK
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5))
def test_sums_wrap_and_do_not_depend_on_the_order(values):
    parts = {str(i): words_to_bytes(np.array([v], np.uint64)) for i, v in enumerate(values)}
    total = sum_of_words(parts, 1)
    assert total.tolist() == [sum(values) % 2**64]
    assert sum_of_words(dict(reversed(parts.items())), 1).tolist() == total.tolist()


@QUICK
@given(st.integers(2, 20), st.data())
def test_rounding_removes_noise_below_half_a_step(bits, data):
    message = data.draw(st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
    half = 2 ** (64 - bits - 1)
    error = data.draw(st.integers(-half, half - 1))
    phase = np.array([((message << (64 - bits)) + error) % 2**64], np.uint64)
    assert round_to_bits(phase, bits).tolist() == [message]
