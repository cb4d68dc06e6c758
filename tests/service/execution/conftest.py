"""Shared fixtures of the executors' tests: an event loop and a store of orders per module."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.service.execution.orders import Orders


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Orders:
    return Orders(tmp_path_factory.mktemp("blobs"))
