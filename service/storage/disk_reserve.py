"""Room on the server's disk that is kept for erasing.

Erasing needs room itself: SQLite writes every change to its log before it frees anything. So a file
of some megabytes in the server's folder holds blocks, which are given back when the disk is full
and something is to be erased; and nothing new is taken while less than as much is free. The file
is made again when there is room for it.
"""

from __future__ import annotations

import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path

from utils.atomic_files import PRIVATE_FILE
from utils.disk_errors import cause_of, is_full
from utils.errors import DiskFull, StorageUnavailable

FILE = "reserve"
FEWEST_FILES = 32
"""Fewer inodes than this left on a disk count as a full disk."""
_PIECE = 1 << 20


class DiskReserve:
    """The file, and how much is free besides; thread-safe.

    The file lies in `folder`. Methods raise StorageUnavailable where a folder is not there.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folders = [folder]
        self._file = folder / FILE
        self._size = size
        self._lock = threading.Lock()

    def watch(self, folder: Path) -> None:
        """Count the room of another folder too, which may lie on another disk."""
        self._folders.append(folder)

    def require(self, size: int = 0) -> None:
        """Raise DiskFull unless its size and `size` more bytes are free beside the file."""
        self.restore()
        for folder in self._folders:
            missing = self._size if folder == self._file.parent and not self._whole() else 0
            usage = _usage(folder)
            files_left = usage.f_favail if usage.f_files else FEWEST_FILES  # 0: not counted
            if _free(usage) < missing + self._size + size or files_left < FEWEST_FILES:
                raise DiskFull(
                    "The server's disk is full: too little is free beside what is kept for "
                    "erasing (TRISEAL_DISK_RESERVE_MEGABYTES). Try again when there is room."
                )

    def has_room(self, size: int) -> bool:
        """Return whether `size` bytes are free, whatever the state of the reserve."""
        return all(_free(_usage(folder)) >= size for folder in self._folders)

    def release(self) -> bool:
        """Give the file's blocks back; return whether there were any."""
        with self._lock:
            try:
                self._file.unlink()
            except OSError:
                return False
            with suppress(OSError):
                _sync(self._file.parent)  # only then may the blocks be used again
            return True

    def restore(self) -> bool:
        """Make the file where it is missing and there is room; return whether it is whole."""
        with self._lock:
            if self._whole():
                return True
            if _free(_usage(self._file.parent)) < 2 * self._size:
                return False
            part = self._file.with_name(f".{FILE}.{secrets.token_hex(8)}")
            try:
                _allocate(part, self._size)
                part.replace(self._file)
            except OSError as error:
                part.unlink(missing_ok=True)
                if is_full(error):  # others were faster, or a quota is used up
                    return False
                raise StorageUnavailable(
                    f"The server cannot write to its folder ({cause_of(error)})."
                ) from error
            return True

    def clear_unfinished(self) -> None:
        """Remove what a crash left of a file that was being made."""
        for path in self._file.parent.glob(f".{FILE}.*"):
            path.unlink(missing_ok=True)

    def _whole(self) -> bool:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageUnavailable(
                f"The server cannot read its folder ({cause_of(error)})."
            ) from error
        return found.st_size == self._size


def _allocate(path: Path, size: int) -> None:
    """Make a file that has all its blocks, whatever the file system makes of empty ones."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    try:
        with suppress(OSError):  # not every file system has it; what is missing is written below
            os.posix_fallocate(handle, 0, size)
        if os.fstat(handle).st_blocks * 512 < size:
            with open(handle, "wb", closefd=False) as file:
                for start in range(0, size, _PIECE):
                    # Random, since zeros may be stored as nothing.
                    file.write(os.urandom(min(_PIECE, size - start)))
        os.fsync(handle)
    finally:
        os.close(handle)


def _usage(folder: Path) -> os.statvfs_result:
    try:
        return os.statvfs(folder)
    except OSError as error:
        raise StorageUnavailable(
            f"The server cannot reach its folders ({cause_of(error)})."
        ) from error


def _free(usage: os.statvfs_result) -> int:
    return usage.f_bavail * usage.f_frsize


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
