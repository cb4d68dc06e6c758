"""No decoder of foreign bytes does anything but read them or raise an error of ours."""

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
"""Bytes that reading may take beyond those read; the largest sample has half a megabyte."""


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """What is done inside takes no more memory than a message of `size` bytes deserves."""
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
def test_anything_else_is_read_or_refused_and_takes_no_memory(name: str) -> None:
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
    if name != "structure of Concrete":  # which answers yes or no
        assert refused, "nothing that was tried is refused"
