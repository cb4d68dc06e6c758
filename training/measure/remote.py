"""An object in a process of its own, called by the names of its methods."""

from __future__ import annotations

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
from utils.errors import EvaluationFailed, TrisealError

_PEAK = "peak_bytes"


class Remote:
    """What `make(*arguments)` gives, in a fresh process; use as a context.

    One call at a time: `begin` starts one and `answer` waits for it, so that several processes
    can work at once. Errors of this project are raised here as they were there, and end nothing.
    """

    def __init__(
        self, name: str, make: Callable[..., Any], *arguments: Any, python: str = sys.executable
    ) -> None:
        """`make` and `arguments` must be picklable; `name` is for messages to people.

        `python` is the interpreter, where the process needs another environment than this one.
        """
        self.name = name
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [python, "-W", "ignore", "-m", "training.measure.remote", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
            )
        self._pipe = Connection(ours.detach())
        with suppress(OSError):  # it has ended already, which the first call will say
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
        """End the process, whatever it is doing."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._pipe.close()

    def ready(self) -> None:
        """Wait until the object is made; raises what making it raised."""
        if not self._made:
            self._made = True
            self._receive()

    def begin(self, method: str, *arguments: Any) -> None:
        """Start a call whose `answer` is to be fetched."""
        self.ready()
        try:
            self._pipe.send((method, arguments))
        except OSError:
            raise self._ended() from None

    def answer(self) -> Any:
        """What the call gave; raises what it raised, or EvaluationFailed for an ended process."""
        return self._receive()

    def call(self, method: str, *arguments: Any) -> Any:
        """One call and its answer."""
        self.begin(method, *arguments)
        return self.answer()

    def peak_bytes(self) -> int:
        """The largest resident size of the process so far."""
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


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
