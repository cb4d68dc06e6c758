"""An executor in a separate process, for one that may terminate its process.

Ray terminates a process that has lost its cluster for a minute. So a child process of the server
joins the cluster; when it ends, the server starts a new one and keeps handling requests.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from typing import Any

from starlette.concurrency import run_in_threadpool

from service.execution.interface import (
    Evaluated,
    Evaluation,
    Executor,
    Introduction,
    Reporter,
    WorkerLostError,
)
from service.execution.pipe import MessagePipe
from service.execution.ray.executor_process import serve
from utils.errors import EngineUnavailable, TrisealError

logger = logging.getLogger("triseal.workers")

BEGIN_SECONDS = 120.0
SILENCE_SECONDS = 30.0
"""A process that sends nothing for so long is replaced; normally it sends every second."""
STOP_SECONDS = 15.0
LONGEST_PAUSE = 30.0


class ExecutorProxy(Executor):
    """The executor that `make` returns, in a child process, which imports `make` by name."""

    may_come_later = True

    def __init__(self, make: Callable[[], Executor]) -> None:
        self._make = make
        self._turn = asyncio.Lock()
        self._process: BaseProcess | None = None
        self._pipe: MessagePipe | None = None
        self._listening: asyncio.Task[None] | None = None
        self._restarting: asyncio.Task[None] | None = None
        self._introduction: Introduction | None = None
        self._state = (0, False)
        self._tickets = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._listeners: dict[int, Reporter] = {}
        self._stopped = False

    @property
    def capacity(self) -> int:
        return self._state[0]

    @property
    def ready(self) -> bool:
        return self._state[1]

    async def start(self) -> Introduction:
        async with self._turn:
            if self._introduction is None:
                if self._stopped:
                    raise EngineUnavailable("The server is shutting down.")
                if self._pipe is None:
                    await self._launch()
                self._introduction = await self._call("start")
            return self._introduction

    async def evaluate(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        if self._introduction is None:
            raise _lost()
        try:
            answer: Evaluated = await self._call("evaluate", evaluation, report)
        except asyncio.CancelledError:
            self.cancel(evaluation.job)
            raise
        return answer

    async def load_key(self, evaluation: Evaluation) -> float | None:
        seconds: float | None = await self._call_safely("load_key", evaluation)
        return seconds

    def cancel(self, job: str) -> None:
        self._send(("cancel", job))

    async def forget(self, store: str) -> None:
        await self._call_safely("forget", store)

    async def stop(self) -> None:
        self._stopped = True
        if self._restarting is not None:
            self._restarting.cancel()
        self._end_calls(EngineUnavailable("The server is shutting down."))
        process = self._process
        if self._listening is not None:
            self._listening.cancel()
        if self._pipe is not None:
            self._pipe.close()  # at which the child stops its executor and exits
        if process is not None:
            await run_in_threadpool(process.join, STOP_SECONDS)
        self._drop()

    async def _launch(self) -> None:
        near, far = socket.socketpair()
        with far:
            context = multiprocessing.get_context("spawn")
            self._process = context.Process(
                target=serve, args=(far, self._make), name="executor", daemon=True
            )
            self._process.start()
        self._pipe = await MessagePipe.over(near)
        self._listening = asyncio.create_task(self._receive(self._pipe))

    async def _call(self, name: str, what: Any = None, report: Reporter | None = None) -> Any:
        ticket = next(self._tickets)
        self._answers[ticket] = answer = asyncio.get_running_loop().create_future()
        if report is not None:
            self._listeners[ticket] = report
        try:
            if self._pipe is None:
                raise _lost()
            self._send((name, ticket, what))
            return await answer
        finally:
            del self._answers[ticket]
            self._listeners.pop(ticket, None)

    async def _call_safely(self, name: str, what: Any) -> Any:
        if self._pipe is not None:
            with suppress(TrisealError, WorkerLostError):
                return await self._call(name, what)
        return None

    def _send(self, message: tuple[Any, ...]) -> None:
        if self._pipe is not None:
            self._pipe.send(message)

    async def _receive(self, pipe: MessagePipe) -> None:
        seconds = BEGIN_SECONDS
        try:
            while True:
                async with asyncio.timeout(seconds):
                    message = await pipe.receive()
                seconds = SILENCE_SECONDS
                match message:
                    case ("state", capacity, ready):
                        self._state = (capacity, ready)
                    case ("progress", ticket, found):
                        if (listener := self._listeners.get(ticket)) is not None:
                            listener(found)
                    case ("answer", ticket, result, error):
                        self._answered(ticket, result, error)
        except (EOFError, TimeoutError):
            logger.error("the process that is connected to the cluster has ended")
        except Exception:  # no one awaits this task, so an error would go unnoticed
            logger.exception("receiving from the process that is connected to the cluster")
        loaded = self._introduction is not None
        self._drop()
        self._end_calls(_lost())
        if loaded and not self._stopped:
            self._restarting = asyncio.create_task(self._restart())

    def _answered(self, ticket: int, result: Any, error: Exception | None) -> None:
        answer = self._answers.get(ticket)
        if answer is None or answer.done():
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def _end_calls(self, error: Exception) -> None:
        for ticket in list(self._answers):
            self._answered(ticket, None, error)

    def _drop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
        self._process = self._pipe = self._introduction = None
        self._state = (0, False)

    async def _restart(self) -> None:
        pause = 1.0
        while not self._stopped:
            try:
                await self.start()
                return
            except TrisealError as error:
                logger.error("the cluster is not available yet: %s", error.message)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _lost() -> EngineUnavailable:
    # The evaluated messages cannot be the cause, since only actors read them.
    return EngineUnavailable(
        "The server has lost its cluster, or cannot join it; see its log. It continues when the "
        "cluster is back."
    )
