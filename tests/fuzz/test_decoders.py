"""Every decoder of untrusted bytes either reads them or raises an error of utils/errors.py."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import decoders
from tests.fuzz.mutations import spoilt
from utils.errors import TrisealError

FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
MEMORY = 24 << 20
"""Memory in bytes that a decoder may use besides its input; the largest sample has 0.5 MB."""


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Assert that the body needs no more memory than is due for a message of `size` bytes."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY + 8 * size, f"{peak} bytes to read {size}"


@pytest.mark.parametrize("name", decoders())
def test_valid_samples_are_read(name: str) -> None:
    decoder = decoders()[name]
    for sample in decoder.samples[:1]:
        decoder.read(sample)


@pytest.mark.parametrize("name", decoders())
def test_mutated_input_is_read_or_refused_in_bounded_memory(name: str) -> None:
    decoder = decoders()[name]
    refused = []

    @FEW
    @given(st.data())
    def spoil(data: st.DataObject) -> None:
        content = data.draw(spoilt(decoder.samples))
        with bounded(len(content)):
            try:
                decoder.read(content)
            except TrisealError as error:
                assert error.message
                refused.append(type(error))

    spoil()
    if name != "structure of Concrete":  # it returns True or False
        assert refused, "no input was refused"
