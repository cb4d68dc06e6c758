"""What is kept of applications in memory: bounded, and gone when an application is forgotten."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

_FORGOTTEN = 4096
"""How many forgotten stores are remembered; no store's name is ever used again."""


class BoundedCache(Generic[T]):
    """Values by store and name, the least recently used dropped first; thread-safe.

    `room` is what their sizes may come to. A value of a store that has been forgotten is not kept:
    who began to make it before that may end after it.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._values: OrderedDict[tuple[str, str], tuple[T, int]] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, store: str, name: str) -> T | None:
        """The value, or None where it is not kept."""
        with self._lock:
            found = self._values.get((store, name))
            if found is None:
                return None
            self._values.move_to_end((store, name))
            return found[0]

    def put(self, store: str, name: str, value: T, size: int = 1) -> None:
        """Keep a value, if it has room at all and its store has not been forgotten."""
        with self._lock:
            self._drop((store, name))
            if store in self._forgotten or size > self._room:
                return
            self._values[store, name] = (value, size)
            self._used += size
            while self._used > self._room:
                self._drop(next(iter(self._values)))

    def drop(self, store: str) -> list[T]:
        """Keep nothing of a store any longer; answers what was kept."""
        with self._lock:
            keys = [key for key in self._values if key[0] == store]
            return [value for key in keys for value in self._drop(key)]

    def forget(self, store: str) -> list[T]:
        """As `drop`, and for good."""
        with self._lock:
            self._forgotten[store] = None
            while len(self._forgotten) > _FORGOTTEN:
                self._forgotten.popitem(last=False)
        return self.drop(store)

    def forgot(self, store: str) -> bool:
        """Whether a store has been forgotten."""
        with self._lock:
            return store in self._forgotten

    def _drop(self, key: tuple[str, str]) -> list[T]:
        found = self._values.pop(key, None)
        if found is None:
            return []
        self._used -= found[1]
        return [found[0]]
