"""Description of the measuring machine, and memory and processor time of processes."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path


def machine() -> dict[str, str]:
    """Return processor, cores, memory and Python version."""
    processor = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    except OSError:
        pass  # not Linux
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": processor,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "python": platform.python_version(),
    }


def peak_bytes(process: int | None = None) -> int:
    """Return the peak resident size of this process, or of the one with the given id.

    Without /proc, fall back to getrusage for this process and return 0 for others.
    """
    try:
        status = Path(f"/proc/{process or 'self'}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        # Only a fallback: this includes the memory of the parent before a fork.
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return own if process is None else 0


def descendants(process: int) -> list[int]:
    """Return the ids of all descendants of a process; empty except on Linux."""
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:
            continue  # it has just ended
        for child in children:
            found += [child, *descendants(child)]
    return found


def cpu_seconds(process: int) -> float:
    """Return the processor time of a process and its descendants; 0 except on Linux.

    Descendants that have ended count if their parents have waited for them.
    """
    ticks = 0
    for one in (process, *descendants(process)):
        try:
            text = Path(f"/proc/{one}/stat").read_text()
        except OSError:
            continue  # it has just ended
        # Fields 14 to 17 of proc(5): own and waited-for children's, user and system.
        ticks += sum(int(field) for field in text.rpartition(")")[2].split()[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")
