"""The evaluations under way, by job, so that each can be ended from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from service.execution.interface import WorkerLostError
from utils.errors import EngineUnavailable

T = TypeVar("T")


class RunningEvaluations:
    """To be used from one event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[Any]] = {}
        self._closed = False

    async def run(self, job: str, work: Coroutine[Any, Any, T]) -> T:
        """The result of a job's work, which `cancel` and `stop` can end.

        Raises what the work raises, WorkerLostError("cancelled"), and EngineUnavailable at the end
        of the server.
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
        """End a job's work; nothing where there is none."""
        task = self._tasks.get(job)
        if task is not None:
            task.cancel()

    def close(self) -> None:
        """From now on, what ends is ended by the end of the server."""
        self._closed = True

    async def stop(self) -> None:
        """End all work."""
        self.close()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _shutting_down() -> EngineUnavailable:
    return EngineUnavailable("The server is shutting down.")
