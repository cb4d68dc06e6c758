"""Restarts of the demonstration's processes: their delays and their limit."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_DELAY = 1.0
"""Seconds before the first start after an end; each further one waits twice as long."""
MOST_RESTARTS = 5
"""Starts in a row, without a run of `STEADY_SECONDS`, after which there is none any more."""
STEADY_SECONDS = 60.0


class Restarts:
    """The restarts of one process: with growing delays, and not for ever."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started, self._count = clock(), 0
        self._due: float | None = None

    def ended(self) -> float | None:
        """Note that the process has ended.

        Returns the seconds until it is due to be started again, or None if it has ended too often.
        """
        now = self._clock()
        if now - self._started >= STEADY_SECONDS:
            self._count = 0
        if self._count >= MOST_RESTARTS:
            return None
        delay = FIRST_DELAY * 2**self._count
        self._count += 1
        self._due = now + delay
        return delay

    def due(self) -> bool:
        """Return True once the time to start the process again has come."""
        return self._due is not None and self._clock() >= self._due

    def started(self) -> None:
        """Note that the process has been started again."""
        self._started, self._due = self._clock(), None
