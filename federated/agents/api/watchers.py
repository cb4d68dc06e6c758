"""Coroutines that wait for changes made in other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Watchers:
    """Wakes all subscribers at a change; a subscriber then reads the state itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._woken: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def changed(self) -> None:
        """Wake all subscribers; may be called in any thread."""
        with self._lock:
            woken = list(self._woken)
        for loop, event in woken:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(event.set)

    @contextmanager
    def subscribe(self) -> Iterator[asyncio.Event]:
        """Yield an event that is set at each change until the subscriber clears it."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._woken.add(entry)
        try:
            yield entry[1]
        finally:
            with self._lock:
                self._woken.discard(entry)
