"""Calls that follow each other in a thread, without a way through the event loop in between.

Whoever hands over one call after another and awaits each gives the thread nothing to do until the
event loop comes round again; a strand has the next one ready.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock


class Strand:
    """Calls functions in their order, one at a time, in a thread of the event loop's own pool.

    The thread is held only while there is something to call. To be used from one event loop.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[Future[None], Callable[[], None]]] = deque()
        self._busy = False
        self._lock = Lock()

    def call(self, function: Callable[[], None]) -> asyncio.Future[None]:
        """Call it after all earlier ones; the future has what it raises.

        Cancelling the future takes the call back, unless it has begun.
        """
        done: Future[None] = Future()
        with self._lock:
            self._calls.append((done, function))
            begins, self._busy = not self._busy, True
        if begins:
            asyncio.get_running_loop().run_in_executor(None, self._run)
        return asyncio.wrap_future(done)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._busy = False
                    return
                done, function = self._calls.popleft()
            if not done.set_running_or_notify_cancel():
                continue
            try:
                function()
            except BaseException as error:  # whatever it is, whoever awaits it is to know
                done.set_exception(error)
            else:
                done.set_result(None)
