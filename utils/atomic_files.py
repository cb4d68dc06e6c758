"""Atomic writes of files, readable by their owner only unless stated otherwise."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def private_folder(path: Path) -> Path:
    """Create `path` (and its parents) with mode 0700 and return it."""
    path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
    path.chmod(PRIVATE_FOLDER)
    return path


def write_atomic(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Write `data` to `path` so that a crash leaves the old file or the new one, never a part.

    The bytes are written to a temporary file in the same folder, synced, and renamed to `path`.
    """
    with _temporary(path, data, mode) as temporary:
        temporary.replace(path)


def write_new(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> bool:
    """Do the same as `write_atomic` if there is no `path` yet; return False if there is.

    Of several processes that call it at once, one creates the file. Raises OSError if the file
    system has no hard links.
    """
    with _temporary(path, data, mode) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
    return True


@contextmanager
def _temporary(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """Write and sync a temporary file beside `path`, removed at the end if it is still there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
