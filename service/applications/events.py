"""Subscriptions to changes of applications, within this process.

A subscriber is woken without a payload and reads the state itself. So nothing queues up for a slow
subscriber, and it always reads the newest state.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

WITNESSED_RUNS = "witnessed runs"
"""Stands for an application's id: a run that witnesses check has begun or ended."""


class Events:
    """Subscriptions by application id; must be created in a running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._subscribers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def changed(self, client_id: str, but: asyncio.Event | None = None) -> None:
        """Wake the application's subscribers, except `but`; may be called in any thread."""
        self._loop.call_soon_threadsafe(self._wake, client_id, but)

    def changed_all(self) -> None:
        """Wake all subscribers, since anything may have changed; may be called in any thread."""
        self._loop.call_soon_threadsafe(self._wake_all)

    @contextmanager
    def subscribe(self, client_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set at each change until the subscriber clears it."""
        event = asyncio.Event()
        self._subscribers[client_id].add(event)
        try:
            yield event
        finally:
            self._subscribers[client_id].discard(event)
            if not self._subscribers[client_id]:
                del self._subscribers[client_id]

    def _wake(self, client_id: str, but: asyncio.Event | None = None) -> None:
        for event in self._subscribers.get(client_id, ()):
            if event is not but:
                event.set()

    def _wake_all(self) -> None:
        for client_id in list(self._subscribers):
            self._wake(client_id)
