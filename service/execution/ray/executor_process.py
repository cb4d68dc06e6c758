"""The child process behind an ExecutorProxy: it has the executor and does what it is asked."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from service.execution.interface import Executor, WorkerLostError
from service.execution.pipe import MessagePipe
from service.execution.sandbox import end_with_parent, leave_signals_to_parent
from service.http import request_log as logs
from utils.errors import EvaluationFailed, TrisealError

logger = logging.getLogger("triseal.workers")

STATE_SECONDS = 1.0
"""How often the server is told how many evaluations there is room for."""
LONGEST_PRINTED = 500


def serve(end: socket.socket, make: Callable[[], Executor]) -> None:
    """Do what is asked on the line until the server hangs up."""
    logs.configure()
    leave_signals_to_parent()
    end_with_parent()
    with redirect_stdout(_Printed()), redirect_stderr(_Printed()):
        asyncio.run(_serve(end, make))


class _Printed(io.TextIOBase):
    """Makes a line of the log of whatever a library prints, in short."""

    def write(self, text: str) -> int:
        if words := text.strip():
            logger.info("printed", extra={"facts": {"text": words[:LONGEST_PRINTED]}})
        return len(text)


async def _serve(end: socket.socket, make: Callable[[], Executor]) -> None:
    line = await MessagePipe.over(end)
    services = _Desk(line, make)
    state = asyncio.create_task(services.tell_state())
    tasks: set[asyncio.Task[None]] = set()
    try:
        while True:
            match await line.receive():
                case ("cancel", job):
                    services.cancel(job)
                case (name, ticket, what):
                    task = asyncio.create_task(services.answer(name, ticket, what))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
    except EOFError:
        state.cancel()
        await services.stop()


class _Desk:
    def __init__(self, line: MessagePipe, make: Callable[[], Executor]) -> None:
        self._line = line
        self._make = make
        self._executor: Executor | None = None
        self._making = asyncio.Lock()

    async def answer(self, name: str, ticket: int, what: Any) -> None:
        try:
            result, error = await self._do(name, ticket, what), None
        except (TrisealError, WorkerLostError) as known:
            result, error = None, known
        except Exception as fault:
            logger.exception("asking the executor to %s", name)
            result, error = (
                None,
                EvaluationFailed(
                    f"The server's executor met a fault ({type(fault).__name__}); run the program "
                    "again, and see the server's log if it fails again."
                ),
            )
        self._say_state()
        self._line.send(("answer", ticket, result, error))

    async def _do(self, name: str, ticket: int, what: Any) -> Any:
        executor = await self._made()
        match name:
            case "start":
                return await executor.start()
            case "evaluate":
                return await executor.evaluate(
                    what, lambda share: self._line.send(("progress", ticket, share))
                )
            case "warm":
                return await executor.warm(what)
            case _:
                return await executor.forget(what)

    async def _made(self) -> Executor:
        """The executor, made when first asked for: what goes wrong there can then be answered."""
        async with self._making:  # several may ask at once, and one of two would never be started
            if self._executor is None:
                self._executor = await asyncio.to_thread(self._make)
            return self._executor

    def cancel(self, job: str) -> None:
        if self._executor is not None:
            self._executor.cancel(job)

    async def tell_state(self) -> None:
        while True:
            self._say_state()
            await asyncio.sleep(STATE_SECONDS)

    def _say_state(self) -> None:
        if self._executor is None:
            self._line.send(("state", 0, False))
        else:
            self._line.send(("state", self._executor.capacity, self._executor.ready))

    async def stop(self) -> None:
        if self._executor is not None:
            await self._executor.stop()
