"""The memory allocator of a process that loads Concrete's keys.

Concrete copies a key of 120 MB six times while it reads it. By default glibc takes each large block
from the kernel and gives it back at once, and the kernel fills every page with zeros again, which
took three quarters of the time.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = (1 << 31) - 1


@cache
def keep_freed_memory() -> None:
    """Let the process keep freed memory, for the next block; only with glibc, else do nothing."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def release_freed_memory() -> None:
    """Give freed memory back to the system."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
