"""Early writeback: a file is written to disk while the rest of it is still being received.

The final sync then has little left to wait for. Nothing is durable before that sync.
"""

from __future__ import annotations

import ctypes
import sys

_START = 2
"""SYNC_FILE_RANGE_WRITE of sync_file_range(2): start writing without waiting."""
_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None


def begin_writeback(handle: int, start: int, size: int) -> None:
    """Start writing these bytes of an open file to disk; has an effect on Linux only."""
    if _LIBRARY is not None:
        _LIBRARY.sync_file_range(handle, ctypes.c_int64(start), ctypes.c_int64(size), _START)
