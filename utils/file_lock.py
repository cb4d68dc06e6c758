"""A lock that one process holds while a file is open; it goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from io import FileIO
from pathlib import Path

from utils.atomic_files import PRIVATE_FILE
from utils.errors import DataFolderInUse
from utils.forks import renew_in_children

PAUSE_SECONDS = 0.02


class HeldLock(FileIO):
    """An open file whose lock this process holds until it is closed.

    A forked child gets a closed one: the lock stays the parent's alone, and ends with the parent.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb+", opener=_create)
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        self.close()  # unlocking instead would unlock it for the parent as well


def hold_lock(path: Path, in_use: str, seconds: float = 0.0) -> HeldLock:
    """Create the file and lock it while the returned file is open.

    Waits at most `seconds` for another holder. Raises DataFolderInUse(`in_use`), and
    FileNotFoundError where the folder does not exist.
    """
    deadline = time.monotonic() + seconds
    while True:
        lock = HeldLock(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            if time.monotonic() >= deadline:
                raise DataFolderInUse(in_use) from error
            time.sleep(PAUSE_SECONDS)
            continue
        if _is_at(lock, path):
            return lock
        lock.close()  # the last holder removed the file meanwhile; its lock excludes nobody


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, PRIVATE_FILE)


def _is_at(lock: HeldLock, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False
