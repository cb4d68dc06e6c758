"""Putting right what Concrete's runtime changes in the process that runs it."""

from __future__ import annotations

import ctypes
import signal

_libc = ctypes.CDLL(None)
_libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
_libc.signal.restype = ctypes.c_void_p


def restore_broken_pipes() -> None:
    """Ignore SIGPIPE again, as Python does, so that a closed pipe is an exception.

    The first evaluation in a process installs LLVM's handler, under which writing to a closed pipe
    ends the process. By the C library, since Python sets handlers in main threads only, and a
    worker on a cluster evaluates in another one.
    """
    _libc.signal(signal.SIGPIPE, int(signal.SIG_IGN))
