"""Locks on files: one holder at a time, and gone with the process, however it ends."""

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
"""A place behind the end of any file, which SQLite's own locks leave alone."""


class HeldLock(FileIO):
    """An open file whose lock this process holds until it is closed.

    A forked child gets a closed one: the lock stays the parent's alone, and ends with the parent.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb+", opener=_create)
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        self.close()  # unlocking instead would unlock it for the parent as well


def hold_lock(path: Path, in_use: str, seconds: float = 0.0, *, shared: bool = False) -> HeldLock:
    """Create the file and lock it while the returned file is open.

    A `shared` lock excludes those that are not. Waits at most `seconds` for another holder. Raises
    DataFolderInUse(`in_use`), FileNotFoundError where the folder does not exist, and OSError where
    the file system has no locks.
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
        lock.close()  # the last holder removed the file meanwhile; its lock excludes nobody


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, PRIVATE_FILE)


def _is_at(lock: HeldLock, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def hold_database_lock(path: Path, in_use: str) -> BinaryIO:
    """Lock a SQLite file, by whatever name it is reached, beside SQLite's own locks.

    The file is made where it is missing. Raises DataFolderInUse(`in_use`) and OSError. Close the
    returned file only when all of this process's connections are closed: SQLite's locks go with
    the first descriptor of the file that is closed.
    """
    path.touch(PRIVATE_FILE)
    lock = path.open("rb+")
    # A lock of the open file, not of the process: the latter is the kind that SQLite uses. Where
    # the system has none, the lock of the folder has to do.
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
