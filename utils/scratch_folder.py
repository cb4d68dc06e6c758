"""Temporary folders that the next process removes if their own process was killed.

Each folder is locked by its process and marked as Triseal's. A marked folder whose lock is free
belongs to a process that has ended; a folder without the marker is never touched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.errors import DataFolderInUse
from utils.file_lock import hold_lock
from utils.marked_folder import MARK, is_marked, mark_folder

PURPOSE = "temporary files"
LOCK = ".lock"


def _nothing(_: Path) -> None: ...


@contextmanager
def scratch_folder(
    prefix: str, parent: Path | None = None, rescue: Callable[[Path], None] = _nothing
) -> Iterator[Path]:
    """Create a private folder `<prefix>…` in `parent`, and remove it on exit.

    First remove the folders with the same prefix that killed processes left in `parent`, each
    after calling `rescue` with its path. `parent` defaults to the system's temporary folder.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    for path in parent.iterdir():
        if path.name.startswith(prefix):
            # OSError: another process is removing the folder, or it belongs to another user.
            with suppress(OSError, DataFolderInUse):
                _remove_left_behind(path, rescue)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    with hold_lock(path / LOCK, f"{path} is in use."):
        try:
            # Only once locked, since a marked folder without a lock counts as left behind.
            mark_folder(path, PURPOSE)
            yield path
        finally:
            _remove(path)


def _remove_left_behind(path: Path, rescue: Callable[[Path], None]) -> None:
    """Remove a folder whose process has ended; raises DataFolderInUse if it has not."""
    if path.is_symlink() or path.stat().st_uid != os.getuid() or not is_marked(path, PURPOSE):
        return
    with hold_lock(path / LOCK, f"{path} is in use."):
        rescue(path)
        _remove(path)


def _remove(path: Path) -> None:
    # The marker last, so that an interrupted removal can be resumed.
    for child in path.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        elif child.name != MARK:
            child.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
