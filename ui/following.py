"""A call that tells how it stands, as a generator: what a page can show while the call lasts."""

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
    """Make the call in a thread of its own; yields what `show` makes of its newest news.

    The generator's value is the call's answer; it raises what the call raises. Whoever stops
    iterating leaves the call to end by itself.
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
        if told.empty():  # or there is something newer
            yield show(one)
    return ended.result()
