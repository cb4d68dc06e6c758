"""The length of a thread's time slices under Linux.

Since Linux 6.12 a thread may request a slice length (sched_setattr(2), `sched_runtime`). A thread
that wakes up preempts the running one if its own slices are shorter. Threads that compute for long
with a small share of the processor therefore request long slices, so that they do not delay threads
that wake up. Threads that are already waiting wait longer, so the slices are not of maximum length.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

LONG_SECONDS = 0.02
"""The default slice is about 3 ms; Linux would allow 100 ms."""
_SYSTEM_CALLS = {"x86_64": 314, "aarch64": 274}
"""The number of sched_setattr, for which older C libraries have no function."""


class _SchedulingAttributes(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("sched_policy", ctypes.c_uint32),
        ("sched_flags", ctypes.c_uint64),
        ("sched_nice", ctypes.c_int32),
        ("sched_priority", ctypes.c_uint32),
        ("sched_runtime", ctypes.c_uint64),  # nanoseconds
        ("sched_deadline", ctypes.c_uint64),
        ("sched_period", ctypes.c_uint64),
    )


def take_long_slices(thread: int = 0) -> bool:
    """Set the time slices of a thread, by its id, to LONG_SECONDS; 0 is the current thread.

    Return True if the system accepted the request. Linux before 6.12 accepts it without effect; for
    scheduling policies other than SCHED_OTHER and SCHED_BATCH no request is made. Threads and
    processes started by the thread inherit the setting. Raises OSError if the thread has ended.
    """
    number = _SYSTEM_CALLS.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    policy = os.sched_getscheduler(thread)
    if policy not in (os.SCHED_OTHER, os.SCHED_BATCH):
        return False
    wanted = _SchedulingAttributes(
        size=ctypes.sizeof(_SchedulingAttributes),
        sched_policy=policy,
        sched_nice=os.getpriority(os.PRIO_PROCESS, thread),
        sched_runtime=int(LONG_SECONDS * 1e9),
    )
    return bool(ctypes.CDLL(None).syscall(number, thread, ctypes.byref(wanted), 0) == 0)
