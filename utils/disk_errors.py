"""Messages for file system errors, with full disks as a class of their own."""

from __future__ import annotations

import errno
import os

from utils.errors import DiskFull, StorageUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(error: BaseException | None) -> bool:
    """Return True if a disk has no blocks or inodes left, or a quota is used up."""
    return isinstance(error, OSError) and error.errno in _FULL


def storage_fault(what: str, error: OSError) -> StorageUnavailable:
    """Return the error to raise for an OSError: DiskFull if the disk is full.

    `what` begins the message: for example, `The server cannot write the file`.
    """
    if is_full(error):
        return DiskFull(f"{what} ({cause_of(error)}). Try again when its disk has free space.")
    return StorageUnavailable(f"{what} ({cause_of(error)}). Try again in a minute.")


def cause_of(error: BaseException) -> str:
    """Return a short reason without paths or values: for example, `No space left on device`."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        return type(error).__name__
    # error.strerror may be text from a remote server, which could contain anything.
    return os.strerror(number)
