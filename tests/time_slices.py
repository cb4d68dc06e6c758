"""The length of a thread's time slices, as reported by Linux."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

_SLICE = re.compile(r"^se\.slice\s*:\s*(\d+)$", re.MULTILINE)
_RELEASE = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


def slice_seconds(thread: int) -> float | None:
    """Return the slice of a thread or process by its id; None if the system does not report it."""
    if sys.platform != "linux" or _RELEASE < (6, 12):
        return None
    try:
        told = _SLICE.search(Path(f"/proc/{thread}/sched").read_text())
    except FileNotFoundError:  # a kernel that was built without it
        return None
    return None if told is None else int(told[1]) / 1e9
