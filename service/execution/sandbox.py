"""The bounds of a worker's own process: its memory, and its end with whoever started it."""

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

from utils.time_slices import take_long_slices

_PR_SET_PDEATHSIG = 1
SESSION_NICENESS = 15
"""Of evaluations to other sessions: 3 % of a core stay for them where others want it all."""


def limit_memory(mebibytes: int) -> None:
    """Let this process take so much memory beyond what it has now, and never more.

    What asks for more gets a MemoryError, or ends the process where native code cannot bear it.
    Private memory is counted, not the address space: that would also count what is shared with
    other processes, as Ray's object store is, and what allocators reserve for each thread. Only
    Linux knows such a bound; elsewhere there is none.
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
    """Go on at Ctrl-C and SIGTERM, which reach a whole group: whoever started this ends it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """End when the process that started this one ends, even where it was killed.

    Linux sees to it itself, also while native code holds the interpreter; elsewhere a thread does,
    for processes that multiprocessing started.
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


def give_way() -> None:
    """Have this process run only when nothing else wants its core (Linux).

    Linux shares a core among sessions first (autogroups), and within one then. In a session of its
    own that is nice to others it holds up neither the server nor a client on the same machine;
    where there are no autogroups, the idle policy still lets the server go first. Without the long
    slices, whoever wakes up may wait for the end of an evaluation's: several times in each call.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):  # it leads a session with others in it, or there are no autogroups
        os.setsid()
        Path("/proc/self/autogroup").write_text(str(SESSION_NICENESS))
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # it has ended, or the system does not let us
            take_long_slices(int(thread.name))  # before the idle policy, which takes none
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
