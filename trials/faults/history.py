"""What has been done to the servers, and which errors of which applications that explains."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

GRACE_SECONDS = 3.0
"""How long after its end a fault may still explain what an application meets."""


@dataclass
class Happening:
    """One fault: the codes it explains, in one application or (None) in all, and when it was."""

    explains: frozenset[str]
    client_id: str | None
    begun: float
    ended: float | None = None


@dataclass
class History:
    """All happenings of the trial; safe to share between threads."""

    _happenings: list[Happening] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def happening(self, *codes: str, client_id: str | None = None) -> Iterator[Happening]:
        """A fault that lasts as long as the context; it explains these codes from now on."""
        happening = Happening(frozenset(codes), client_id, time.monotonic())
        with self._lock:
            self._happenings.append(happening)
        try:
            yield happening
        finally:
            happening.ended = time.monotonic()

    def lasting(self, *codes: str, client_id: str) -> None:
        """Something done to one application that it may meet at any later time."""
        with self._lock:
            self._happenings.append(Happening(frozenset(codes), client_id, time.monotonic()))

    def explains(self, code: str, client_id: str, since: float, least: int = 1) -> bool:
        """Whether at least so many happenings since then may have led to that error."""
        with self._lock:
            found = [
                h
                for h in self._happenings
                if code in h.explains
                and h.client_id in (None, client_id)
                and (h.ended is None or h.ended + GRACE_SECONDS >= since)
            ]
        return len(found) >= least
