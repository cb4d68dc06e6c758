"""Shared fixtures of the executors' tests: an event loop and a store of orders per module."""

from __future__ import annotations

import asyncio
import multiprocessing.context
from collections.abc import Iterator
from multiprocessing import forkserver

import pytest

from tests.service.execution.orders import Orders


@pytest.fixture(scope="package", autouse=True)
def copied_workers() -> Iterator[None]:
    """Fork the workers from one process that has imported their libraries."""
    contexts = multiprocessing.context._concrete_contexts  # type: ignore[attr-defined]
    contexts["forkserver"].set_forkserver_preload(["service.execution.tasks", "trials.stand_in"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(contexts, "spawn", contexts["forkserver"])
        yield
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Orders:
    return Orders(tmp_path_factory.mktemp("blobs"))
