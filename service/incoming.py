"""A server's own folder of uploads that are still arriving.

A file lies here from its first byte until it is kept as a blob (service/blobs.py). What a crash
leaves here belongs to nothing, so a server empties the folder when it starts.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from utils.atomic_files import private_folder


class Incoming:
    """The folder, of mode 0700; made where it is missing. One server process uses it."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_folder(folder)

    def new(self) -> Path:
        """A path in the folder that nothing lies at yet."""
        return self._folder / secrets.token_hex(16)

    def clear(self, older_than: float = 0.0) -> int:
        """Remove files last written more than so many seconds ago; answers how many."""
        newest = time.time() - older_than
        removed = 0
        for path in self._folder.iterdir():
            try:
                if path.stat().st_mtime <= newest:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its upload has ended meanwhile
        return removed
