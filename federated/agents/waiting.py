"""Changes of an agent that others wait for: a serial number that rises, and a condition."""

from __future__ import annotations

import threading

from utils.forks import renew_in_children


class Changes:
    """A counter of changes; thread-safe."""

    def __init__(self) -> None:
        self.serial = 0
        self.renew_after_fork()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        self._changed = threading.Condition()

    def announce(self) -> None:
        """Count a change, and wake those who wait."""
        with self._changed:
            self.serial += 1
            self._changed.notify_all()

    def wait(self, serial: int, seconds: float) -> int:
        """Wait up to `seconds` for a serial other than `serial`; returns the present one."""
        with self._changed:
            self._changed.wait_for(lambda: self.serial != serial, seconds)
            return self.serial
