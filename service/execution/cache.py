"""A bounded cache of applications' data, which is dropped when an application is forgotten."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")

_FORGOTTEN = 4096
"""Number of forgotten stores to remember; a store's name is never reused."""


class BoundedCache(Generic[T]):
    """Values by store and name, with the least recently used dropped first; thread-safe.

    `room` is the limit on the sum of their sizes. Values of a forgotten store are not kept, since a
    computation that started before the store was forgotten may end after it.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0
        self._values: OrderedDict[tuple[str, str], tuple[T, int]] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, store: str, name: str) -> T | None:
        """Return the value, or None if it is not cached."""
        with self._lock:
            found = self._values.get((store, name))
            if found is None:
                return None
            self._values.move_to_end((store, name))
            return found[0]

    def put(self, store: str, name: str, value: T, size: int = 1) -> None:
        """Cache a value unless it is larger than `room` or its store has been forgotten."""
        with self._lock:
            self._drop((store, name))
            if store in self._forgotten or size > self._room:
                return
            self._values[store, name] = (value, size)
            self._used += size
            while self._used > self._room:
                self._drop(next(iter(self._values)))

    def drop(self, store: str) -> list[T]:
        """Drop all values of a store; return them."""
        with self._lock:
            keys = [key for key in self._values if key[0] == store]
            return [value for key in keys for value in self._drop(key)]

    def forget(self, store: str) -> list[T]:
        """Drop all values of a store, and never cache any again; return them."""
        with self._lock:
            self._forgotten[store] = None
            while len(self._forgotten) > _FORGOTTEN:
                self._forgotten.popitem(last=False)
        return self.drop(store)

    def forgot(self, store: str) -> bool:
        """Return True if a store has been forgotten."""
        with self._lock:
            return store in self._forgotten

    def _drop(self, key: tuple[str, str]) -> list[T]:
        found = self._values.pop(key, None)
        if found is None:
            return []
        self._used -= found[1]
        return [found[0]]
