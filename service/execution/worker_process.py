"""A local worker process, seen from the server: start, call, time limit, death and rebirth."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import ParamSpec, TypeVar

from starlette.concurrency import run_in_threadpool

from service.execution import tasks
from service.execution.interface import Introduction, WorkerLostError
from service.execution.worker import EngineSource
from service.storage.blobs import BlobPlace
from utils.errors import DeploymentMixed, EngineUnavailable, TrisealError

logger = logging.getLogger("triseal.workers")

LOAD_SECONDS = 300.0
STOP_SECONDS = 5.0
FORGET_SECONDS = 5.0
LONGEST_PAUSE = 30.0
"""Seconds between two attempts to replace a process whose engine cannot be loaded."""
_FORGET_AT_ONCE = 256
"""Stores in one message, which then fits into the line's buffer."""

P = ParamSpec("P")
T = TypeVar("T")


class WorkerProcess:
    """One process with an engine, doing one task at a time in the order they come.

    To be used from one event loop. A process that is lost, at work or not, is replaced at once, in
    the background. `report` is called with a ticket and its finished share, `changed` whenever the
    engine may have become ready.
    """

    def __init__(
        self,
        source: EngineSource,
        place: BlobPlace | None = None,
        *,
        niceness: int = 0,
        report: Callable[[int, float], None] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self._begin_with = (source, place, niceness)
        self._report = report
        self._changed = changed
        self._turn = asyncio.Lock()
        self._executor: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._dropped: BaseProcess | None = None
        self._line: Connection | None = None
        self._introduction: Introduction | None = None
        self._first: Introduction | None = None
        self._rebirth: asyncio.Task[None] | None = None
        self._to_forget: list[str] = []
        self._forgetting: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._stopped = False

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

        Where the caller is cancelled, the process is replaced. Raises what the task raises,
        WorkerLostError, and as `start` does.
        """
        async with self._turn:
            try:
                return await self._result(await self._given(task, *args, **kwargs), seconds)
            except (WorkerLostError, asyncio.CancelledError):
                self._replace()
                raise

    async def forget(self, store: str) -> None:
        """Have the process drop what it keeps of an application, though it may be at work.

        Waits some seconds for its answer at most; never raises.
        """
        self._to_forget.append(store)
        if self._forgetting is None or self._forgetting.done():
            self._forgetting = asyncio.create_task(self._send_forgotten())
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._forgetting), FORGET_SECONDS)

    async def stop(self) -> None:
        """End the process, whatever it is doing, and do not replace it."""
        self._stopped = True
        if self._rebirth is not None:
            self._rebirth.cancel()
        self._drop()
        if self._dropped is not None:
            await run_in_threadpool(self._dropped.join, STOP_SECONDS)

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
            introduction = await self._result(self._launch(), LOAD_SECONDS)
        except WorkerLostError as error:
            raise EngineUnavailable(
                "The engine's process ended, or took too long, while it loaded the engine; see "
                "the server's log, and whether the machine has enough memory."
            ) from error
        except TrisealError:
            self._drop()
            raise
        self._first = self._first or introduction
        if introduction != self._first:
            self._drop()
            raise DeploymentMixed(
                "The deployment was replaced while the server ran; restart the server."
            )
        self._introduction = introduction
        if self._changed is not None:
            self._changed()
        return introduction

    async def _given(self, task: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The task in a process that is there."""
        while True:
            await self._ensure()
            if self._executor is None:
                raise WorkerLostError("died")
            try:
                return self._executor.submit(task, *args, **kwargs)
            except BrokenProcessPool:  # it dies just now, and has nothing of the task yet
                self._drop()

    def _launch(self) -> Future[Introduction]:
        context = multiprocessing.get_context("spawn")
        # A line of its own for each process: one that is killed may leave its line half written.
        self._line, far_end = context.Pipe()
        self._executor = ProcessPoolExecutor(
            max_workers=1,
            mp_context=context,
            initializer=tasks.begin,
            initargs=(*self._begin_with, far_end),
        )
        earlier = set(multiprocessing.active_children())
        future = self._executor.submit(tasks.introduce)
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
            caller = asyncio.current_task()
            if caller is not None and not caller.cancelling():  # its line ended before it began
                raise WorkerLostError("died") from None
            raise

    def _replace(self) -> None:
        if not self._stopped and (self._rebirth is None or self._rebirth.done()):
            self._rebirth = asyncio.create_task(self._restart())

    async def _restart(self) -> None:
        pause = 1.0
        while not self._stopped:
            try:
                await self.start()
                return
            except TrisealError as error:
                logger.error("the engine does not come back: %s", error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _send_forgotten(self) -> None:
        """Send what is to be forgotten, one message at a time: the buffer must not fill up."""
        while self._to_forget and self._line is not None:
            some, self._to_forget = (
                self._to_forget[:_FORGET_AT_ONCE],
                self._to_forget[_FORGET_AT_ONCE:],
            )
            self._answered.clear()
            try:
                self._line.send(some)
            except OSError:
                break
            await self._answered.wait()
        self._to_forget.clear()  # with the process, what it kept has gone

    def _read_line(self) -> None:
        try:
            while self._line is not None and self._line.poll():
                report: tasks.Report = self._line.recv()
                if report is None:
                    self._answered.set()
                elif self._report is not None:
                    self._report(*report)
        except (EOFError, OSError):  # the process has ended, or is about to
            loaded = self._introduction is not None
            self._drop()
            if loaded:  # whoever waits for it to load sees to it there
                self._replace()

    def _hang_up(self) -> None:
        self._answered.set()
        if self._line is not None:
            asyncio.get_running_loop().remove_reader(self._line.fileno())
            self._line.close()
            self._line = None

    def _drop(self) -> None:
        """Kill the process, if there is one; its unfinished tasks end as BrokenProcessPool."""
        self._hang_up()
        if self._process is not None:
            self._process.kill()
            self._dropped = self._process
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._process = self._executor = self._introduction = None
