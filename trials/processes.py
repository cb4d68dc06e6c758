"""Facts about processes: descendants, memory, processor time and open files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

_GLANCE_SECONDS = 0.02


def give_way(niceness: int) -> None:
    """Lower the priority of this process and its children; 0 changes nothing.

    Linux shares the processor among sessions first (autogroups), so that a process needs its own
    session to be nice to others.
    """
    if not niceness:
        return
    os.nice(niceness)
    with suppress(PermissionError):  # already a session leader
        os.setsid()
    with suppress(OSError):  # a system without autogroups
        Path("/proc/self/autogroup").write_text(str(niceness))


def descendants(pid: int) -> list[psutil.Process]:
    """Return all running descendants of a process."""
    try:
        found = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [process for process in found if runs(process)]


def runs(process: psutil.Process) -> bool:
    """Return True if a process runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def has_words(process: psutil.Process, words: Iterable[str]) -> bool:
    """Return True if the command line of a process contains one of `words`."""
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return any(word in line for word in words)


def ended(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait at most `seconds` for processes to end; returns those that still run."""
    left, end = list(processes), time.monotonic() + seconds
    while (left := [p for p in left if runs(p)]) and time.monotonic() < end:
        time.sleep(_GLANCE_SECONDS)
    return left


def resident_bytes(process: psutil.Process) -> int:
    """Return the current resident size of a process; 0 if it has ended."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process, without children; 0 if it has ended."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def cpu_seconds_of(pid: int) -> float:
    """Return the processor time of the process with this id; 0 if it has ended."""
    try:
        return cpu_seconds(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return 0.0


def open_files(process: psutil.Process) -> int:
    """Return the number of open file descriptors of a process; 0 if it has ended."""
    try:
        return int(process.num_fds())
    except psutil.Error:
        return 0
