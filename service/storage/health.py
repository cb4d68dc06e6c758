"""The storage's current fault, logged once when it begins and once when it is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeAlias

from utils.disk_errors import cause_of
from utils.errors import DiskFull, StorageUnavailable

logger = logging.getLogger("triseal.storage")

OnFault: TypeAlias = Callable[[StorageUnavailable, BaseException | str | None], None]
"""Called with a fault of the storage and its cause."""


def untold(_fault: StorageUnavailable, _cause: BaseException | str | None) -> None:
    """Ignore a fault."""


class StorageHealth:
    """The unresolved fault of database, blobs or disk, if any; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: set[str] = set()
        self.fault: StorageUnavailable | None = None

    def failed(self, fault: StorageUnavailable, cause: BaseException | str | None = None) -> None:
        """Record a fault; log it once until the storage works again."""
        reason = cause if isinstance(cause, str) else "" if cause is None else cause_of(cause)
        # A full disk causes many different errors; log it once.
        kind = fault.code if isinstance(fault, DiskFull) else fault.message
        with self._lock:
            self.fault = fault
            if kind in self._logged:
                return
            self._logged.add(kind)
        facts = {"code": fault.code, "cause": reason} if reason else {"code": fault.code}
        logger.error("the storage fails: %s", fault.message, extra={"facts": facts})

    def works(self) -> None:
        """Record that all parts have been tested and work."""
        with self._lock:
            was, self.fault = self.fault, None
            self._logged.clear()
        if was is not None:
            logger.warning("the storage works again", extra={"facts": {"after": was.code}})
