"""The child process of an ExecutorProxy, which runs the executor."""

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
from utils.errors import EvaluationFailed, TrisealError
from web import request_log as logs

logger = logging.getLogger("triseal.workers")

STATE_SECONDS = 1.0
"""Interval between reports to the server of the capacity for evaluations."""
LONGEST_PRINTED = 500


def serve(end: socket.socket, make: Callable[[], Executor]) -> None:
    """Handle the calls from the pipe until the server closes it."""
    logs.configure()
    leave_signals_to_parent()
    end_with_parent()
    with redirect_stdout(_Printed()), redirect_stderr(_Printed()):
        asyncio.run(_serve(end, make))


class _Printed(io.TextIOBase):
    """Redirects the output of libraries to the log, shortened."""

    def write(self, text: str) -> int:
        if words := text.strip():
            logger.info("printed", extra={"facts": {"text": words[:LONGEST_PRINTED]}})
        return len(text)


async def _serve(end: socket.socket, make: Callable[[], Executor]) -> None:
    pipe = await MessagePipe.over(end)
    calls = _Calls(pipe, make)
    state = asyncio.create_task(calls.report_state())
    tasks: set[asyncio.Task[None]] = set()
    try:
        while True:
            match await pipe.receive():
                case ("cancel", job):
                    calls.cancel(job)
                case (name, ticket, argument):
                    task = asyncio.create_task(calls.handle(name, ticket, argument))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
    except EOFError:
        state.cancel()
        await calls.stop()


class _Calls:
    """Handles the server's calls with an executor that it creates at the first one."""

    def __init__(self, pipe: MessagePipe, make: Callable[[], Executor]) -> None:
        self._pipe = pipe
        self._make = make
        self._executor: Executor | None = None
        self._making = asyncio.Lock()

    async def handle(self, name: str, ticket: int, argument: Any) -> None:
        try:
            result, error = await self._do(name, ticket, argument), None
        except (TrisealError, WorkerLostError) as known:
            result, error = None, known
        except Exception as fault:
            logger.exception("calling %s of the executor", name)
            result, error = (
                None,
                EvaluationFailed(
                    f"The server's executor had an internal error ({type(fault).__name__}); run "
                    "the program again, and see the server's log if it fails again."
                ),
            )
        self._send_state()
        self._pipe.send(("answer", ticket, result, error))

    async def _do(self, name: str, ticket: int, argument: Any) -> Any:
        executor = await self._made()
        match name:
            case "start":
                return await executor.start()
            case "evaluate":
                return await executor.evaluate(
                    argument, lambda found: self._pipe.send(("progress", ticket, found))
                )
            case "load_key":
                return await executor.load_key(argument)
            case _:
                return await executor.forget(argument)

    async def _made(self) -> Executor:
        """Return the executor, created at the first call, so that its errors reach the server."""
        async with self._making:  # concurrent calls must not create two executors
            if self._executor is None:
                self._executor = await asyncio.to_thread(self._make)
            return self._executor

    def cancel(self, job: str) -> None:
        if self._executor is not None:
            self._executor.cancel(job)

    async def report_state(self) -> None:
        while True:
            self._send_state()
            await asyncio.sleep(STATE_SECONDS)

    def _send_state(self) -> None:
        if self._executor is None:
            self._pipe.send(("state", 0, False))
        else:
            self._pipe.send(("state", self._executor.capacity, self._executor.ready))

    async def stop(self) -> None:
        if self._executor is not None:
            await self._executor.stop()
