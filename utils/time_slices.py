"""How long Linux lets a thread compute before the next one has its turn.

Since Linux 6.12 a thread may ask for slices of its own length (sched_setattr(2), `sched_runtime`).
One that wakes up waits for the end of the slice under way, unless its own slices are shorter; so
whoever computes for long, and is given a small share of the processor, asks for long ones and holds
up nobody who wakes up. Who waits already has to wait longer, so they are not as long as can be.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

LONG_SECONDS = 0.02
"""By default a slice has about three milliseconds; Linux would give a tenth of a second."""
_SYSTEM_CALLS = {"x86_64": 314, "aarch64": 274}
"""sched_setattr's number; older C libraries have no function for it."""


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
    """Have a thread, by its id, run in slices of LONG_SECONDS; 0: this one.

    Answers whether the system took it: Linux before 6.12 does and changes nothing, and for policies
    other than the ordinary ones nothing is asked. What the thread starts from now on does the same.
    Raises OSError where it has ended.
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
