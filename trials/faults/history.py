"""Faults done to the servers, and the errors of applications that they explain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

GRACE_SECONDS = 3.0
"""Time after its end during which a fault still explains errors."""


@dataclass
class Happening:
    """One fault: the error codes that it explains, its application (None for all), its times."""

    explains: frozenset[str]
    client_id: str | None
    begun: float
    ended: float | None = None


@dataclass
class History:
    """All faults of the trial; thread-safe."""

    _happenings: list[Happening] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def happening(self, *codes: str, client_id: str | None = None) -> Iterator[Happening]:
        """Record a fault that lasts as long as the context; it explains these codes."""
        happening = Happening(frozenset(codes), client_id, time.monotonic())
        with self._lock:
            self._happenings.append(happening)
        try:
            yield happening
        finally:
            happening.ended = time.monotonic()

    def lasting(self, *codes: str, client_id: str) -> None:
        """Record a fault of one application that may show at any later time."""
        with self._lock:
            self._happenings.append(Happening(frozenset(codes), client_id, time.monotonic()))

    def explains(self, code: str, client_id: str, since: float, least: int = 1) -> bool:
        """Return True if at least `least` faults since then explain the error."""
        with self._lock:
            found = [
                h
                for h in self._happenings
                if code in h.explains
                and h.client_id in (None, client_id)
                and (h.ended is None or h.ended + GRACE_SECONDS >= since)
            ]
        return len(found) >= least
