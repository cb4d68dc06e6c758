"""An object in a process of its own, called by the names of its methods."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from training.machine import peak_bytes
from utils.errors import EvaluationFailed, TrisealError

_PEAK = "peak_bytes"


class Remote:
    """What `make(*arguments)` gives, in a fresh process; use as a context.

    One call at a time: `begin` starts one and `answer` waits for it, so that several processes
    can work at once. Errors of this project are raised here as they were there, and end nothing.
    """

    def __init__(self, name: str, make: Callable[..., Any], *arguments: Any) -> None:
        """`make` and `arguments` must be picklable; `name` is for messages to people."""
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, make, arguments), name=name, daemon=True
        )
        self._process.start()
        theirs.close()
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
        self._process.join(10)

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


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        made = make(*arguments)
        pipe.send(None)
    except TrisealError as error:
        pipe.send(error)
        return
    while True:
        try:
            method, arguments = pipe.recv()
        except EOFError:
            return  # whoever asked has gone
        try:
            pipe.send(peak_bytes() if method == _PEAK else getattr(made, method)(*arguments))
        except TrisealError as error:
            pipe.send(error)
