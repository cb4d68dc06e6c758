"""Assignment of applications to workers, one task per worker, with affinity for cached keys.

A store goes to the worker that had it last, since that may still have its keys in memory; a new
store goes to a worker chosen by rendezvous hashing of its name. If that worker is busy, another
free one gets the store, since waiting would take longer than reading the keys again.

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
"""Number of stores whose last worker is remembered."""

W = TypeVar("W")


class Pool(Generic[W]):
    """Workers that are lent out while `ready` is true for them; for use from one event loop."""

    def __init__(self, workers: Sequence[W], ready: Callable[[W], bool]) -> None:
        self.workers = tuple(workers)
        self._ready = ready
        self._free = set(range(len(self.workers)))
        self._had_last: OrderedDict[str, int] = OrderedDict()
        self._news = asyncio.Event()

    @property
    def ready(self) -> int:
        """Number of workers that are ready, lent out or not."""
        return sum(1 for worker in self.workers if self._ready(worker))

    @property
    def idle(self) -> tuple[W, ...]:
        """The workers that are ready and not lent out."""
        return tuple(self.workers[n] for n in sorted(self._free) if self._ready(self.workers[n]))

    @asynccontextmanager
    async def lend(self, store: str, seconds: float) -> AsyncIterator[W]:
        """Lend a worker for an application, as soon as one is ready and free.

        Raises EngineUnavailable if none becomes free within `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                number = await self._next(store)
        except TimeoutError as error:
            raise EngineUnavailable(
                "No worker has loaded its engine; see the server's log, and try again in a minute."
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
        """Lend a worker that responds, so that no job is blamed for a worker lost before it.

        `answers` queries the worker and replaces one that does not respond. Raises as `lend` does.
        """
        while True:
            async with self.lend(store, seconds) as worker:
                if await answers(worker):
                    yield worker
                    return

    def wake(self) -> None:
        """Wake waiting calls, since a worker may have become ready."""
        self._news.set()

    def forget(self, store: str) -> None:
        """Forget the last worker of an application."""
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
