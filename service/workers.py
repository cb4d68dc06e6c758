"""A worker process, seen from the server: start, call, time limit, death and rebirth."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Literal, ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from service import worker
from service.worker import EngineLoader, Introduction
from settings import Settings
from utils.errors import EngineUnavailable, TrisealError

logger = logging.getLogger("triseal.workers")

LOAD_SECONDS = 300.0
STOP_SECONDS = 5.0

P = ParamSpec("P")
T = TypeVar("T")
Report = Callable[[int, float], None]
"""Called in the event loop with a run's ticket and its finished share."""


class WorkerLostError(Exception):
    """The worker died under its task, or was ended for taking too long."""

    def __init__(self, how: Literal["died", "late"]) -> None:
        super().__init__(how)
        self.how = how


class WorkerProcess:
    """One process with an engine, doing one task at a time in the order they come.

    To be used from one event loop. A process that is lost is replaced at once, in the background.
    """

    def __init__(self, loader: EngineLoader, settings: Settings, report: Report) -> None:
        self._source = (loader, settings.engine, settings.deployment)
        self._report = report
        self._turn = asyncio.Lock()
        self._executor: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._line: Connection | None = None
        self._introduction: Introduction | None = None
        self._rebirth: asyncio.Task[None] | None = None
        self._stopped = False
        self.task: Callable[..., object] | None = None
        """What the process is doing; None where it does nothing, or loads the engine."""

    @property
    def ready(self) -> bool:
        """Whether the engine is loaded."""
        return self._introduction is not None and self._alive

    async def start(self) -> Introduction:
        """Start the process and load its engine, unless that has been done.

        Raises EngineUnavailable, DeploymentError.
        """
        async with self._turn:
            return await self._ensure()

    async def call(
        self, seconds: float, task: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The result of a task; its `seconds` begin when its turn has come.

        Raises what the task raises, WorkerLostError, and as `start` does.
        """
        async with self._turn:
            await self._ensure()
            if self._executor is None:
                raise WorkerLostError("died")
            self.task = task
            try:
                return await self._result(self._executor.submit(task, *args, **kwargs), seconds)
            except WorkerLostError:
                self._rebirth = asyncio.create_task(self._restart())
                raise
            finally:
                self.task = None

    async def stop(self) -> None:
        """End the process, whatever it is doing, and do not replace it."""
        self._stopped = True
        if self._rebirth is not None:
            self._rebirth.cancel()
        process = self._process
        self._drop()
        if process is not None:
            await run_in_threadpool(process.join, STOP_SECONDS)

    @property
    def _alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    async def _ensure(self) -> Introduction:
        if self._introduction is not None and self._alive:
            return self._introduction
        self._drop()
        if self._stopped:
            raise EngineUnavailable("The server is shutting down.")
        try:
            self._introduction = await self._result(self._launch(), LOAD_SECONDS)
        except WorkerLostError as error:
            raise EngineUnavailable(
                "The engine's process ended, or took too long, while it loaded the engine; see "
                "the server's log, and whether the machine has enough memory."
            ) from error
        except TrisealError:
            self._drop()
            raise
        return self._introduction

    def _launch(self) -> Future[Introduction]:
        context = multiprocessing.get_context("spawn")
        # A line of its own for each process: one that is killed may leave its line half written.
        self._line, far_end = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            max_workers=1,
            mp_context=context,
            initializer=worker.take_seat,
            initargs=(*self._source, far_end),
        )
        earlier = set(multiprocessing.active_children())
        future = self._executor.submit(worker.introduce)
        self._process = next(iter(set(multiprocessing.active_children()) - earlier), None)
        far_end.close()  # the worker has its own; without ours the line ends with the worker
        asyncio.get_running_loop().add_reader(self._line.fileno(), self._read_line)
        return future

    async def _result(self, future: Future[T], seconds: float) -> T:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError as error:
            self._drop()
            raise WorkerLostError("late") from error
        except BrokenProcessPool as error:
            self._drop()
            raise WorkerLostError("died") from error
        except asyncio.CancelledError:
            self._drop()  # or it would go on with what nobody waits for
            raise

    async def _restart(self) -> None:
        try:
            await self.start()
        except TrisealError as error:
            logger.error("the engine does not come back: %s", error.message)

    def _read_line(self) -> None:
        try:
            while self._line is not None and self._line.poll():
                self._report(*self._line.recv())
        except (EOFError, OSError):
            self._hang_up()

    def _hang_up(self) -> None:
        if self._line is not None:
            asyncio.get_running_loop().remove_reader(self._line.fileno())
            self._line.close()
            self._line = None

    def _drop(self) -> None:
        """Kill the process, if there is one; its unfinished tasks end as BrokenProcessPool."""
        self._hang_up()
        if self._process is not None:
            self._process.kill()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._process = self._executor = self._introduction = None
