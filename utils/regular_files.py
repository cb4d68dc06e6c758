"""Bounded reading of a path that another program may have replaced by something else."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def read_regular(path: Path, most: int, *, follow_link: bool = True) -> tuple[bytes, int] | None:
    """Return at most `most` bytes of a regular file and its mode, or None if it is not one.

    A named pipe does not block. Raises FileNotFoundError and OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    if not follow_link:
        if path.is_symlink():
            return None
        flags |= os.O_NOFOLLOW
    handle = os.open(path, flags)
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            return None
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read(most), mode
    finally:
        os.close(handle)
