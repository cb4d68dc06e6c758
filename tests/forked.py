"""Calls in a forked child process, as made by a server that preloads its application."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Any

LONGEST_SECONDS = 120


class Child:
    """A forked child that calls a function; `result` waits for its return value."""

    def __init__(self, call: Callable[[], Any]) -> None:
        sys.stdout.flush()
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(write)
            return
        signal.alarm(LONGEST_SECONDS)  # a child that waits for a lock of a lost thread
        try:
            try:
                answer = (True, call())
            except Exception as error:
                answer = (False, error)
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)

    def result(self) -> Any:
        """Return the call's result or raise its error; raises EOFError if the child died."""
        with os.fdopen(self._read, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(self.pid, 0)
        if not answer:
            raise EOFError("the child died or took too long")
        fine, value = pickle.loads(answer)  # noqa: S301 - from our own child
        if not fine:
            raise value
        return value


def in_child(call: Callable[[], Any]) -> Any:
    """Return the result of a call in a forked child."""
    return Child(call).result()
