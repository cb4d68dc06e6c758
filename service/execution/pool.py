"""Which worker does what: each does one thing at a time, and an application finds its keys again.

A store goes to the worker that had it last, since that may still keep its keys; a new one to a
worker that its name chooses by rendezvous hashing. Where that one is busy, the next free one gets
it: waiting would take longer than reading the keys again.

Source: Thaler, Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM
Transactions on Networking 6 (1998).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from utils.errors import EngineUnavailable

_REMEMBERED = 1024
"""Stores of which it is known who had them last."""

W = TypeVar("W")


class Pool(Generic[W]):
    """Workers that are lent out, while `ready` says that they are; for one event loop."""

    def __init__(self, workers: Sequence[W], ready: Callable[[W], bool]) -> None:
        self.workers = tuple(workers)
        self._ready = ready
        self._free = set(range(len(self.workers)))
        self._had_last: OrderedDict[str, int] = OrderedDict()
        self._news = asyncio.Event()

    @property
    def ready(self) -> int:
        """How many workers are ready, lent out or not."""
        return sum(1 for worker in self.workers if self._ready(worker))

    @property
    def idle(self) -> tuple[W, ...]:
        """The workers that are ready and not lent out."""
        return tuple(self.workers[n] for n in sorted(self._free) if self._ready(self.workers[n]))

    @asynccontextmanager
    async def lend(self, store: str, seconds: float) -> AsyncIterator[W]:
        """A worker for an application, as soon as one is ready and free.

        Raises EngineUnavailable where none is for so many seconds.
        """
        try:
            async with asyncio.timeout(seconds):
                number = await self._next(store)
        except TimeoutError as error:
            raise EngineUnavailable(
                "No worker has its engine; see the server's log, and try again in a minute."
            ) from error
        self._free.remove(number)
        self._had_last[store] = number
        self._had_last.move_to_end(store)
        while len(self._had_last) > _REMEMBERED:
            self._had_last.popitem(last=False)
        try:
            yield self.workers[number]
        finally:
            self._free.add(number)
            self.wake()

    @asynccontextmanager
    async def lend_answering(
        self, store: str, seconds: float, answers: Callable[[W], Awaitable[bool]]
    ) -> AsyncIterator[W]:
        """A worker that says that it is there: no job may be blamed for one lost before it came.

        `answers` asks it, and sees to it that one is replaced that does not. Raises as `lend` does.
        """
        while True:
            async with self.lend(store, seconds) as worker:
                if await answers(worker):
                    yield worker
                    return

    def wake(self) -> None:
        """Look again: a worker may have become ready."""
        self._news.set()

    def forget(self, store: str) -> None:
        """Who had an application does not matter any more."""
        self._had_last.pop(store, None)

    async def _next(self, store: str) -> int:
        while True:
            ready = [n for n in self._free if self._ready(self.workers[n])]
            if ready:
                last = self._had_last.get(store)
                return last if last in ready else min(ready, key=lambda n: _weight(store, n))
            self._news.clear()
            await self._news.wait()


def _weight(store: str, number: int) -> bytes:
    return hashlib.sha256(f"{store} {number}".encode()).digest()
