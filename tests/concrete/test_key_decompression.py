"""Evaluation keys that are decompressed before Concrete reads them."""

import os
import struct

import numpy as np
import pytest
from concrete import fhe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.concrete import decompression
from engines.concrete.decompression import decompressed
from engines.envelope import unseal
from engines.interface import DECIDE, ENCRYPTED_INPUTS
from model.polynomial import sample_states
from tests.strategies import QUICK

DAMAGED = settings(QUICK, suppress_health_check=list(HealthCheck), max_examples=20)


@pytest.fixture(scope="module")
def key(runs):
    """Return the compressed keys as Concrete serialises them."""
    return bytes(unseal(runs.keys.evaluation)[1])


@pytest.fixture(scope="module")
def expanded(key):
    found = decompressed(key)
    assert found is not None
    return found


def test_results_equal_those_with_concretes_own_decompression(runs, layout, key, expanded):
    sent = runs.messages(layout.bits_of_states(sample_states(layout, 1, seed=5))[0])
    inputs = [
        value
        for party in layout.schema.party_names
        for value in runs.server._inputs(party, sent[party, ENCRYPTED_INPUTS])
    ]

    def run(message):
        keys = fhe.EvaluationKeys.deserialize(message)
        result = runs.server._server.run(*inputs, evaluation_keys=keys, function_name=DECIDE)
        return result.serialize()

    assert run(expanded) == run(key)


def test_expanded_key_has_every_ciphertext_with_its_mask(runs, key, expanded):
    parameters = runs.facts["parameters"]
    (bootstrap,), (keyswitch,) = parameters["bootstrap"], parameters["keyswitch"]
    words = bootstrap["polynomial_size"] * (bootstrap["glwe_dimension"] + 1)
    rows = bootstrap["input_lwe_dimension"] * bootstrap["level"] * (bootstrap["glwe_dimension"] + 1)
    wide, narrow = sorted(parameters["lwe_dimensions"], reverse=True)
    size = 8 * (rows * words + wide * keyswitch["level"] * (narrow + 1))
    assert 0 <= len(expanded) - size < 1000
    # The masks are independent of the bodies and of each other: nothing is left out or repeated.
    found = np.frombuffer(expanded[-size:], np.uint64)
    assert len(np.unique(found)) > 0.9999 * len(found)
    assert decompressed(expanded) is None, "it is not compressed"


@pytest.mark.parametrize(
    "change",
    [
        lambda key: b"",
        lambda key: b"x",
        lambda key: key[:100],
        lambda key: key[:-8],
        lambda key: key + bytes(8),
        lambda key: bytes(len(key)),
        lambda key: b"\xff" * 1000,
        lambda key: os.urandom(10_000),
        lambda key: struct.pack("<I", 1 << 31) + key[4:],
    ],
)
def test_other_messages_are_left_to_concrete(key, change):
    assert decompressed(change(key)) is None


@DAMAGED
@given(st.data())
def test_damaged_structure_neither_raises_nor_grows(runs, key, expanded, data):
    damaged = bytearray(key)
    for offset, text in data.draw(
        st.lists(st.sampled_from(runs.server._keys._structure.fixed), min_size=1, max_size=3)
    ):
        position = offset + data.draw(st.integers(0, len(text) // 2 - 1))
        damaged[position] ^= data.draw(st.integers(1, 255))
    found = decompressed(bytes(damaged))
    assert found is None or len(found) <= len(expanded) + len(key)


def test_too_large_key_is_left_to_concrete(key, expanded, monkeypatch):
    monkeypatch.setattr(decompression, "MOST_BYTES", len(expanded))
    assert decompressed(key) == expanded
    monkeypatch.setattr(decompression, "MOST_BYTES", len(expanded) - 1)
    assert decompressed(key) is None
