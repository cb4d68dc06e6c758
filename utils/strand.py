"""A queue of calls that run one after another in a thread, without the event loop in between.

A caller that awaits each call before submitting the next leaves the thread idle until the event
loop runs again; with a strand the next call is already queued.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock


class Strand:
    """Calls functions in order, one at a time, in a thread of the event loop's default executor.

    The thread is occupied only while calls are queued. Use a strand from one event loop only.
    """

    def __init__(self) -> None:
        self._calls: deque[tuple[Future[None], Callable[[], None]]] = deque()
        self._busy = False
        self._lock = Lock()

    def call(self, function: Callable[[], None]) -> asyncio.Future[None]:
        """Call `function` after all earlier ones; the returned future has its exception, if any.

        Cancelling the future cancels the call, unless it has begun.
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
            except BaseException as error:  # raised again where the future is awaited
                done.set_exception(error)
            else:
                done.set_result(None)
