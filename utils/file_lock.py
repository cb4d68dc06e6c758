"""Locks that one process holds while a file is open; they go with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import BinaryIO

from utils.atomic_files import PRIVATE_FILE
from utils.errors import DataFolderInUse

_FAR = 1 << 62
"""A place behind the end of any file, which SQLite's own locks leave alone."""


def hold_lock(path: Path, in_use: str, *, shared: bool = False) -> BinaryIO:
    """Make the file and lock it while the returned file is open.

    A `shared` lock excludes those that are not. Raises DataFolderInUse(`in_use`), and OSError
    where the file cannot be made or the file system has no locks.
    """
    path.touch(PRIVATE_FILE)
    lock = path.open("rb+")
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise DataFolderInUse(in_use) from error
    except BaseException:
        lock.close()
        raise
    return lock


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
