"""Limits of a worker's process: its memory, its signals, its lifetime and its priority."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def limit_memory(mebibytes: int) -> None:
    """Limit the memory that this process may allocate in addition to what it has now.

    Allocations beyond the limit raise MemoryError, or crash the process if native code does not
    handle them. The limit is on private memory, not on the address space, which would include
    memory shared with other processes (Ray's object store) and memory that allocators reserve for
    each thread. Only Linux has such a limit; elsewhere this does nothing.
    """
    if sys.platform != "linux":
        return
    bound = _private_bytes() + (mebibytes << 20)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        bound = min(bound, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def _private_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return 0


def leave_signals_to_parent() -> None:
    """Ignore Ctrl-C and SIGTERM, which reach the whole group: the parent stops this process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """Exit when the parent process exits, even if that was killed.

    On Linux the kernel enforces this, even while native code holds the interpreter; elsewhere a
    thread does, for processes started by multiprocessing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> NoReturn:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def give_way(niceness: int) -> None:
    """Give this process a session of its own with that niceness (Linux).

    Linux divides a core among sessions first (autogroups), so that with a high niceness this
    process delays neither the server nor a client on the same machine.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # already a session leader, or the system has no autogroups
            os.setsid()
            Path("/proc/self/autogroup").write_text(str(niceness))
