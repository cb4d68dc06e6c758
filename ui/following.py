"""A call that reports its progress, as a generator: updates for a page while the call runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from parties.run_follower import RunNews, Tell

S = TypeVar("S")
T = TypeVar("T")


def followed(call: Callable[[Tell], T], show: Callable[[RunNews], S]) -> Generator[S, None, T]:
    """Run `call` in its own thread and yield `show` of its latest progress report.

    The generator returns the call's result and raises what the call raises. If iteration stops
    early, the call still runs to its end.
    """
    told: SimpleQueue[RunNews | None] = SimpleQueue()
    ended: Future[T] = Future()

    def work() -> None:
        try:
            ended.set_result(call(told.put))
        except BaseException as error:  # raised in the thread that iterates
            ended.set_exception(error)
        finally:
            told.put(None)

    threading.Thread(target=work, name="followed call", daemon=True).start()
    while (one := told.get()) is not None:
        if told.empty():  # otherwise a newer report is waiting
            yield show(one)
    return ended.result()
