"""Restoration of signal handlers that Concrete's runtime changes."""

from __future__ import annotations

import ctypes
import signal

_libc = ctypes.CDLL(None)
_libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
_libc.signal.restype = ctypes.c_void_p


def restore_broken_pipes() -> None:
    """Ignore SIGPIPE again, as Python does, so that writing to a closed pipe raises an exception.

    The first evaluation in a process installs LLVM's handler, with which writing to a closed pipe
    ends the process. Uses the C library, since Python sets handlers only in the main thread, and a
    worker on a cluster evaluates in another one.
    """
    _libc.signal(signal.SIGPIPE, int(signal.SIG_IGN))
