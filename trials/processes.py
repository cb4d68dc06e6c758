"""What the system says of processes: which there are, what memory and files they hold."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

_GLANCE_SECONDS = 0.02


def give_way(niceness: int) -> None:
    """Have this process and its children take less of the processor than others do; 0: as much.

    Linux shares the processor among sessions first (autogroups), so that a process that is to be
    nice to other sessions needs one of its own.
    """
    if not niceness:
        return
    os.nice(niceness)
    with suppress(PermissionError):  # it leads one already
        os.setsid()
    with suppress(OSError):  # a system without autogroups
        Path("/proc/self/autogroup").write_text(str(niceness))


def descendants(pid: int) -> list[psutil.Process]:
    """The processes that a process has started, and they in turn, without those that have ended."""
    try:
        found = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in found if runs(process)]


def runs(process: psutil.Process) -> bool:
    """Whether it runs; one that only waits to be reaped has ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def ended(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after at most so many seconds; none where all have ended."""
    left, end = list(processes), time.monotonic() + seconds
    while (left := [p for p in left if runs(p)]) and time.monotonic() < end:
        time.sleep(_GLANCE_SECONDS)
    return left


def resident_bytes(process: psutil.Process) -> int:
    """Its resident size now; 0 where it has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def cpu_seconds(process: psutil.Process) -> float:
    """The processor's time that it has had itself; 0 where it has ended."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def cpu_seconds_of(pid: int) -> float:
    """The same by its id."""
    try:
        return cpu_seconds(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return 0.0


def open_files(process: psutil.Process) -> int:
    """How many file descriptors it holds; 0 where it has ended."""
    try:
        return int(process.num_fds())
    except psutil.Error:
        return 0
