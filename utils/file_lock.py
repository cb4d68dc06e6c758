"""A lock that one process holds while a file is open; it goes with the process, however it ends."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import BinaryIO

from utils.atomic_files import PRIVATE_FILE
from utils.errors import DataFolderInUse


def hold_lock(path: Path, in_use: str) -> BinaryIO:
    """Make the file and lock it while the answer is open; raises DataFolderInUse(`in_use`)."""
    path.touch(PRIVATE_FILE)
    lock = path.open("rb+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise DataFolderInUse(in_use) from error
    return lock
