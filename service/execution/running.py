"""The evaluations in progress, by job, so that each can be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from service.execution.interface import WorkerLostError
from utils.errors import EngineUnavailable

T = TypeVar("T")


class RunningEvaluations:
    """The tasks of the evaluations in progress; for use from one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._closed = False

    async def run(self, job: str, work: Coroutine[Any, Any, T]) -> T:
        """Run a job's work, which `cancel` and `stop` can stop, and return its result.

        Raises the errors of the work, WorkerLostError("cancelled"), and EngineUnavailable when the
        server shuts down.
        """
        task = asyncio.create_task(work)
        self._tasks[job] = task
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            if self._closed:
                raise _shutting_down() from None
            raise WorkerLostError("cancelled") from None
        except WorkerLostError as error:
            if self._closed:
                raise _shutting_down() from error
            raise
        finally:
            if self._tasks.get(job) is task:
                del self._tasks[job]

    def cancel(self, job: str) -> None:
        """Stop a job's work, if there is any."""
        task = self._tasks.get(job)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """From now on, report work that is stopped as an effect of the server's shutdown."""
        self._closed = True

    async def stop(self) -> None:
        """Stop all work."""
        self.close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _shutting_down() -> EngineUnavailable:
    return EngineUnavailable("The server is shutting down.")
