"""How long the time slices of a thread are, as Linux tells it."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

_SLICE = re.compile(r"^se\.slice\s*:\s*(\d+)$", re.MULTILINE)
_RELEASE = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


def slice_seconds(thread: int) -> float | None:
    """Of a thread or a process by its id; None where the system has no such thing or tells none."""
    if sys.platform != "linux" or _RELEASE < (6, 12):
        return None
    try:
        told = _SLICE.search(Path(f"/proc/{thread}/sched").read_text())
    except FileNotFoundError:  # a kernel that was built without it
        return None
    return None if told is None else int(told[1]) / 1e9
