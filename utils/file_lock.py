"""File locks: one holder at a time, released when the holding process ends."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from utils.atomic_files import PRIVATE_FILE
from utils.errors import DataFolderInUse
from utils.forks import renew_in_children

PAUSE_SECONDS = 0.02

_FAR = 1 << 62
"""A byte beyond the end of any file, which SQLite's own locks do not use."""


class HeldLock(FileIO):
    """An open file, locked by this process until it is closed.

    In a forked child it is closed, so that the parent alone holds the lock.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb+", opener=_create)
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        self.close()  # unlocking would release the parent's lock as well


def hold_lock(path: Path, in_use: str, seconds: float = 0.0, *, shared: bool = False) -> HeldLock:
    """Create the file and lock it for as long as the returned file is open.

    A `shared` lock only excludes exclusive ones. Waits at most `seconds` for another holder. Raises
    DataFolderInUse(`in_use`), FileNotFoundError if the folder does not exist, and OSError if the
    file system does not support locks.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    deadline = time.monotonic() + seconds
    while True:
        lock = HeldLock(path)
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            if time.monotonic() >= deadline:
                raise DataFolderInUse(in_use) from error
            time.sleep(PAUSE_SECONDS)
            continue
        except BaseException:
            lock.close()
            raise
        if _is_at(lock, path):
            return lock
        lock.close()  # the last holder has removed the file, so this lock excludes nobody


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, PRIVATE_FILE)


def _is_at(lock: HeldLock, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def hold_database_lock(path: Path, in_use: str) -> BinaryIO:
    """Lock a SQLite file, whatever path it is opened by, independently of SQLite's own locks.

    The file is created if it is missing. Raises DataFolderInUse(`in_use`) and OSError. Close the
    returned file only after all connections of this process: closing any descriptor of the file
    releases SQLite's locks.
    """
    path.touch(PRIVATE_FILE)
    lock = path.open("rb+")
    # A lock of the open file description, since SQLite uses the locks of the process. If the
    # system has none, the folder's lock has to suffice.
    command = getattr(fcntl, "F_OFD_SETLK", None)
    if command is None:
        return lock
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _FAR, 1, 0)
    try:
        fcntl.fcntl(lock, command, wanted)
    except BlockingIOError as error:
        lock.close()
        raise DataFolderInUse(in_use) from error
    except BaseException:
        lock.close()
        raise
    return lock
