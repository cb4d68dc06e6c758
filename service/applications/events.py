"""Subscriptions to changes of applications, within this process.

A subscriber is woken and reads the state itself, so it always reads the newest one. It can see from
the changes whether they may be what it waits for, and not read if they are not.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

WITNESSED_RUNS = "witnessed runs"
"""Stands for an application's id: a run that witnesses check has begun or ended."""


@dataclass(frozen=True)
class Sent:
    """A message between parties; a `receiver` of None means all parties."""

    sender: str
    receiver: str | None
    step: str


@dataclass(frozen=True)
class Change:
    """Messages that were posted, or else the slot that was filled: its party and file name.

    Without either, it is a change of the state that ends no run.
    """

    messages: Sequence[Sent] = ()
    slot: tuple[str, str] | None = None


class Subscription(asyncio.Event):
    """An event that is set at each change; None stands for a change of any kind."""

    def __init__(self) -> None:
        super().__init__()
        self._changes: list[Change | None] = []

    def note(self, change: Change | None) -> None:
        """Add a change and set the event."""
        self._changes.append(change)
        self.set()

    def clear(self) -> None:
        """Forget the changes, too."""
        self._changes.clear()
        super().clear()

    def take(self) -> list[Change | None]:
        """Clear the event; returns the changes since it was cleared last, oldest first."""
        changes = list(self._changes)
        self.clear()
        return changes


class Events:
    """Subscriptions by application id; must be created in a running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._subscribers: defaultdict[str, set[Subscription]] = defaultdict(set)

    def changed(
        self, client_id: str, change: Change | None = None, but: Subscription | None = None
    ) -> None:
        """Wake the application's subscribers, except `but`; may be called in any thread.

        Without `change`, anything may have changed.
        """
        self._loop.call_soon_threadsafe(self._wake, client_id, change, but)

    def changed_all(self) -> None:
        """Wake all subscribers, since anything may have changed; may be called in any thread."""
        self._loop.call_soon_threadsafe(self._wake_all)

    @contextmanager
    def subscribe(self, client_id: str) -> Iterator[Subscription]:
        """Yield an event that is set at each change until the subscriber clears it."""
        subscription = Subscription()
        self._subscribers[client_id].add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers[client_id].discard(subscription)
            if not self._subscribers[client_id]:
                del self._subscribers[client_id]

    def _wake(
        self, client_id: str, change: Change | None = None, but: Subscription | None = None
    ) -> None:
        for subscription in self._subscribers.get(client_id, ()):
            if subscription is not but:
                subscription.note(change)

    def _wake_all(self) -> None:
        for client_id in list(self._subscribers):
            self._wake(client_id)
