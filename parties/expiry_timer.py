"""A background thread that erases expired files on time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

LONGEST_WAIT_SECONDS = 60.0
"""Longest wait between two checks: the clock may be set, or the machine may be suspended."""
SHORTEST_WAIT_SECONDS = 0.05

log = logging.getLogger(__name__)


class ExpiryTimer:
    """Calls `erase_due` now and at every expiry, until `stop`.

    `erase_due` erases expired files and returns the seconds until the next expiry.
    """

    def __init__(self, erase_due: Callable[[], float]) -> None:
        self._erase_due = erase_due
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Call `erase_due` at once, since the time of the next expiry may have changed."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread once its current call has finished; does not wait for it."""
        self._stopped = True
        self._wake.set()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            seconds = LONGEST_WAIT_SECONDS
            try:
                seconds = self._erase_due()
            except Exception:  # for example, a full disk; retried after the wait
                log.exception("expired files could not be erased")
            self._wake.wait(min(max(seconds, SHORTEST_WAIT_SECONDS), LONGEST_WAIT_SECONDS))
