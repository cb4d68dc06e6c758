"""A thread that erases what has expired at its moment, without any call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

LONGEST_WAIT_SECONDS = 60.0
"""Between two looks at the clock, which may be set, or stand still with the machine."""
SHORTEST_WAIT_SECONDS = 0.05

log = logging.getLogger(__name__)


class ExpiryTimer:
    """Calls `erase_due` now and whenever it is time, until `stop`.

    `erase_due` erases what has expired and returns the seconds until there is more.
    """

    def __init__(self, erase_due: Callable[[], float]) -> None:
        self._erase_due = erase_due
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look again at once: something else may be the next to expire."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread, after what it is doing."""
        self._stopped = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            seconds = LONGEST_WAIT_SECONDS
            try:
                seconds = self._erase_due()
            except Exception:  # a full disk, say: it is tried again
                log.exception("expired files could not be erased")
            self._wake.wait(min(max(seconds, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS))
