"""A local worker process, as used by the server: start, calls, time limits and replacement."""

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
from service.execution.interface import Introduction, RunProgress, WorkerLostError
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
"""Maximum stores in one message, so that it fits into the pipe's buffer."""

P = ParamSpec("P")
T = TypeVar("T")


class WorkerProcess:
    """One process with an engine, which runs one task at a time in the order of the calls.

    For use from one event loop. A process that is lost, busy or idle, is replaced at once in the
    background. `report` is called with a ticket and its progress, `changed` whenever the engine may
    have become ready.
    """

    def __init__(
        self,
        source: EngineSource,
        place: BlobPlace | None = None,
        *,
        niceness: int = 0,
        report: Callable[[int, RunProgress], None] | None = None,
        changed: Callable[[], None] | None = None,
    ) -> None:
        self._begin_with = (source, place, niceness)
        self._report = report
        self._changed = changed
        self._turn = asyncio.Lock()
        self._executor: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self._dropped: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._introduction: Introduction | None = None
        self._first: Introduction | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._to_forget: list[str] = []
        self._forgetting: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._stopped = False

    @property
    def ready(self) -> bool:
        """True if the engine is loaded."""
        return self._introduction is not None and self._alive

    async def start(self) -> Introduction:
        """Start the process and load its engine, unless it is loaded.

        Raises EngineUnavailable, DeploymentError.
        """
        async with self._turn:
            return await self._ensure()

    async def call(
        self, seconds: float, task: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a task and return its result; the limit of `seconds` starts when the task does.

        If the caller is cancelled, the process is replaced. Raises the errors of the task,
        WorkerLostError, and the errors of `start`.
        """
        async with self._turn:
            try:
                return await self._result(await self._submit(task, *args, **kwargs), seconds)
            except (WorkerLostError, asyncio.CancelledError):
                self._replace()
                raise

    async def forget(self, store: str) -> None:
        """Make the process drop everything that it caches of an application, even while busy.

        Waits for its confirmation for a few seconds at most; never raises.
        """
        self._to_forget.append(store)
        if self._forgetting is None or self._forgetting.done():
            self._forgetting = asyncio.create_task(self._send_forgotten())
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._forgetting), FORGET_SECONDS)

    def stop_evaluation(self, ticket: int) -> None:
        """Make the process stop an evaluation when it next reports progress."""
        if self._pipe is not None:
            with suppress(OSError):  # it has ended, and the evaluation with it
                self._pipe.send(ticket)

    async def stop(self) -> None:
        """Stop the process, even if it is busy, and do not replace it."""
        self._stopped = True
        if self._restarting is not None:
            self._restarting.cancel()
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
                "The engine's process ended, or took too long, while loading the engine; see the "
                "server's log, and check that the machine has enough memory."
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

    async def _submit(self, task: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit the task to a running process."""
        while True:
            await self._ensure()
            if self._executor is None:
                raise WorkerLostError("died")
            try:
                return self._executor.submit(task, *args, **kwargs)
            except BrokenProcessPool:  # it has just died, without the task
                self._drop()

    def _launch(self) -> Future[Introduction]:
        context = multiprocessing.get_context("spawn")
        # Each process has its own pipe, since a killed one may leave a partial message.
        self._pipe, far_end = context.Pipe()
        self._executor = ProcessPoolExecutor(
            max_workers=1,
            mp_context=context,
            initializer=tasks.begin,
            initargs=(*self._begin_with, far_end),
        )
        earlier = set(multiprocessing.active_children())
        future = self._executor.submit(tasks.introduce)
        self._process = next(iter(set(multiprocessing.active_children()) - earlier), None)
        far_end.close()  # the worker has its own copy, so the pipe closes when the worker ends
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._read_pipe)
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
            self._drop()  # the process would continue a task whose result is not needed
            caller = asyncio.current_task()
            if caller is not None and not caller.cancelling():  # the process died before the task
                raise WorkerLostError("died") from None
            raise

    def _replace(self) -> None:
        if not self._stopped and (self._restarting is None or self._restarting.done()):
            self._restarting = asyncio.create_task(self._restart())

    async def _restart(self) -> None:
        pause = 1.0
        while not self._stopped:
            try:
                await self.start()
                return
            except TrisealError as error:
                logger.error("the engine cannot be loaded again: %s", error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _send_forgotten(self) -> None:
        """Send the stores to forget, one message at a time, so that the buffer cannot fill up."""
        while self._to_forget and self._pipe is not None:
            some, self._to_forget = (
                self._to_forget[:_FORGET_AT_ONCE],
                self._to_forget[_FORGET_AT_ONCE:],
            )
            self._answered.clear()
            try:
                self._pipe.send(some)
            except OSError:
                break
            await self._answered.wait()
        self._to_forget.clear()  # if the process is gone, so is its cache

    def _read_pipe(self) -> None:
        try:
            while self._pipe is not None and self._pipe.poll():
                report: tasks.Report = self._pipe.recv()
                if report is None:
                    self._answered.set()
                elif self._report is not None:
                    self._report(*report)
        except (EOFError, OSError):  # the process has ended, or is about to
            loaded = self._introduction is not None
            self._drop()
            if loaded:  # while it loads, the waiting call handles its end
                self._replace()

    def _close_pipe(self) -> None:
        self._answered.set()
        if self._pipe is not None:
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._pipe.close()
            self._pipe = None

    def _drop(self) -> None:
        """Kill the process, if any; its unfinished tasks fail with BrokenProcessPool."""
        self._close_pipe()
        if self._process is not None:
            self._process.kill()
            self._dropped = self._process
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._process = self._executor = self._introduction = None
