"""An object in its own process, whose methods are called by name."""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from settings import ROOT
from training.measure.machine import peak_bytes
from utils.child_process import StartedProcess
from utils.errors import EvaluationFailed, TrisealError

_PEAK = "peak_bytes"


def launched(python: str, pipe: socket.socket) -> StartedProcess:
    """Start a process that serves calls on its standard input, which is `pipe`."""
    return subprocess.Popen(  # noqa: S603 - our own module, no shell
        [python, "-W", "ignore", "-m", "training.measure.remote"], cwd=ROOT, stdin=pipe.fileno()
    )


class Remote:
    """The object returned by `make(*arguments)`, in a new process; a context manager.

    Calls are made one at a time: `begin` starts one and `answer` waits for its result, so that
    several processes can work concurrently. A TrisealError in the process is raised here and does
    not end it.
    """

    launch = staticmethod(launched)
    """Starts the process; tests replace it, so that libraries are not imported every time."""

    def __init__(
        self, name: str, make: Callable[..., Any], *arguments: Any, python: str = sys.executable
    ) -> None:
        """Start the process; `make` and `arguments` must be picklable, `name` is for messages.

        `python` is the interpreter, for a process that needs another environment.
        """
        self.name = name
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self.launch(python, theirs)
        self._pipe = Connection(ours.detach())
        with suppress(OSError):  # it has already ended, which the first call will report
            self._pipe.send((make, arguments))
        self._made = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """End the process, even during a call."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe.close()

    def ready(self) -> None:
        """Wait until the object is made; raises the errors of making it."""
        if not self._made:
            self._made = True
            self._receive()

    def begin(self, method: str, *arguments: Any) -> None:
        """Start a call; `answer` returns its result."""
        self.ready()
        try:
            self._pipe.send((method, arguments))
        except OSError:
            raise self._ended() from None

    def answer(self) -> Any:
        """Return the call's result or raise its error; EvaluationFailed if the process ended."""
        return self._receive()

    def call(self, method: str, *arguments: Any) -> Any:
        """Make a call and return its result."""
        self.begin(method, *arguments)
        return self.answer()

    def peak_bytes(self) -> int:
        """Return the peak resident size of the process."""
        return int(self.call(_PEAK))

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(answer, TrisealError):
            raise answer
        return answer

    def _ended(self) -> EvaluationFailed:
        return EvaluationFailed(f"The process of {self.name} has ended.")


def _serve(pipe: Connection) -> None:
    try:
        make, arguments = pipe.recv()
        made = make(*arguments)
        pipe.send(None)
    except TrisealError as error:
        pipe.send(error)
        return
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return  # the parent has ended
        try:
            pipe.send(peak_bytes() if method == _PEAK else getattr(made, method)(*arguments))
        except TrisealError as error:
            pipe.send(error)


def main() -> None:
    """Serve the parent process over the socket that is the standard input."""
    CommandParser(prog="python -m training.measure.remote", description=__doc__).parse_args()
    _serve(Connection(os.dup(0)))


if __name__ == "__main__":
    run_command(main)
