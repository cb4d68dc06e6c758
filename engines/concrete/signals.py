"""Putting right what Concrete's runtime changes in the process that runs it."""

from __future__ import annotations

import signal
import threading


def restore_broken_pipes() -> None:
    """Ignore SIGPIPE again, as Python does, so that a closed pipe is an exception.

    The first evaluation in a process installs LLVM's handler, under which writing to a closed pipe
    ends the process. Only a main thread may set handlers; in another one nothing is done.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
