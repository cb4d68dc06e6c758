"""Names an error of the file system for a person, and tells a full disk from the rest."""

from __future__ import annotations

import errno
import os

from utils.errors import DiskFull, StorageUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(error: BaseException | None) -> bool:
    """Return whether a disk has no blocks or inodes left, or a quota is used up."""
    return isinstance(error, OSError) and error.errno in _FULL


def storage_fault(what: str, error: OSError) -> StorageUnavailable:
    """Return the error to raise for an OSError: DiskFull where the disk is full.

    `what` begins the message, such as `The server cannot write the file`.
    """
    if is_full(error):
        return DiskFull(f"{what} ({cause_of(error)}). Try again when its disk has room.")
    return StorageUnavailable(f"{what} ({cause_of(error)}). Try again in a minute.")


def cause_of(error: BaseException) -> str:
    """Return a short reason without paths or values, such as `No space left on device`."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        return type(error).__name__
    # strerror itself may be the words of a server on the network, which could name anything.
    return os.strerror(number)
