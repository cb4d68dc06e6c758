"""A worker process that dies at the moment when it gets a task."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from service.execution.interface import WorkerLostError
from service.execution.worker import EngineSource
from service.execution.worker_process import WorkerProcess
from tests.service.execution.orders import settings
from trials.stand_in import load


def broken(*_: object) -> Future[int]:
    raise BrokenProcessPool("it has ended")


def never_begun(*_: object) -> Future[int]:
    future: Future[int] = Future()
    future.cancel()
    return future


def test_task_not_received_by_a_dead_process_is_resubmitted(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        process = WorkerProcess(EngineSource.of(settings(), load))
        await process.start()
        first = await process.call(20.0, os.getpid)
        monkeypatch.setattr(process._executor, "submit", broken)
        second = await process.call(20.0, os.getpid)
        assert second not in (first, os.getpid())
        monkeypatch.setattr(process._executor, "submit", never_begun)
        with pytest.raises(WorkerLostError):
            await process.call(20.0, os.getpid)
        assert await process.call(20.0, os.getpid) not in (first, second)
        await process.stop()

    runner.run(play())
