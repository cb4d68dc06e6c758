"""A file's content begins its way to the disk while the rest of it still arrives.

A sync at the end then has little to wait for. Nothing is durable before that sync.
"""

from __future__ import annotations

import ctypes
import sys

_START = 2
"""SYNC_FILE_RANGE_WRITE of sync_file_range(2): begin, and wait for nothing."""
_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None


def begin_writeback(handle: int, start: int, size: int) -> None:
    """Have the system begin to write these bytes of an open file; Linux only, elsewhere nothing."""
    if _LIBRARY is not None:
        _LIBRARY.sync_file_range(handle, ctypes.c_int64(start), ctypes.c_int64(size), _START)
