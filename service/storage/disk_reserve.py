"""Disk space reserved for erasing.

Erasing needs free space itself: SQLite writes every change to its log before it frees anything. So
a file of some megabytes in the server's folder reserves blocks, which are released when something
has to be erased on a full disk. New data is refused while less than the same amount is free. The
file is created again when there is space for it.
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
"""A disk with fewer free inodes than this counts as full."""
_PIECE = 1 << 20


class DiskReserve:
    """The reserve file in `folder`, of `size` bytes, and checks of the free space; thread-safe.

    Methods raise StorageUnavailable if a folder is missing.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folders = [folder]
        self._file = folder / FILE
        self._size = size
        self._lock = threading.Lock()

    def watch(self, folder: Path) -> None:
        """Check the free space of another folder too, which may be on another disk."""
        self._folders.append(folder)

    def require(self, size: int = 0) -> None:
        """Raise DiskFull unless, besides the file, its size plus `size` bytes are free."""
        self.restore()
        for folder in self._folders:
            missing = self._size if folder == self._file.parent and not self._whole() else 0
            usage = _usage(folder)
            files_left = usage.f_favail if usage.f_files else FEWEST_FILES  # 0: not counted
            if _free(usage) < missing + self._size + size or files_left < FEWEST_FILES:
                raise DiskFull(
                    "The server's disk is full: the free space does not exceed the reserve for "
                    "erasing (TRISEAL_DISK_RESERVE_MEGABYTES). Try again when there is more space."
                )

    def has_room(self, size: int) -> bool:
        """Return True if `size` bytes are free, whatever the state of the reserve."""
        return all(_free(_usage(folder)) >= size for folder in self._folders)

    def release(self) -> bool:
        """Delete the file to free its blocks; return False if it could not be deleted."""
        with self._lock:
            try:
                self._file.unlink()
            except OSError:
                return False
            with suppress(OSError):
                _sync(self._file.parent)  # the blocks become available only after a sync
            return True

    def restore(self) -> bool:
        """Create the file if it is missing and there is space; return True if it is complete."""
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
                if is_full(error):  # the space was taken meanwhile, or a quota is exhausted
                    return False
                raise StorageUnavailable(
                    f"The server cannot write to its folder ({cause_of(error)})."
                ) from error
            return True

    def clear_unfinished(self) -> None:
        """Remove partly written reserve files that a crash left behind."""
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
    """Create a file with all its blocks allocated, even if the file system makes sparse files."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    try:
        with suppress(OSError):  # not supported by every file system; the rest is written below
            os.posix_fallocate(handle, 0, size)
        if os.fstat(handle).st_blocks * 512 < size:
            with open(handle, "wb", closefd=False) as file:
                for start in range(0, size, _PIECE):
                    # Random bytes, since some file systems do not store zeros.
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
