"""A server's own folder of uploads that are still arriving.

A file lies here from its first byte until it is kept as a blob (service/storage/blobs.py). What a
crash leaves here belongs to nothing, so a server empties the folder when it starts.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from utils.atomic_files import PRIVATE_FOLDER
from utils.disk_errors import storage_fault

ARRIVING = re.compile(r"[0-9a-f]{32}(-checked)?")
"""The names of the files: of an upload, and of the same one for the process that checks it."""


class Incoming:
    """The folder, made where it is missing, of mode 0700. One server process uses it.

    Whoever names the folder has claimed it (service/storage/server_folder.py), since it is emptied.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        self._folder = folder

    def new(self) -> Path:
        """A path in the folder that nothing lies at yet."""
        return self._folder / secrets.token_hex(16)

    def try_write(self) -> None:
        """Write a file and remove it; raises StorageUnavailable where that cannot be done."""
        path = self.new()
        try:
            with path.open("xb") as file:
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise storage_fault("The server cannot write to its folder", error) from error
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def clear(self, older_than: float = 0.0) -> int:
        """Remove files last written more than so many seconds ago; answers how many."""
        newest = time.time() - older_than
        removed = 0
        for path in self._folder.iterdir():
            if not ARRIVING.fullmatch(path.name):
                continue  # nothing that a server makes
            try:
                if path.stat().st_mtime <= newest:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its upload has ended meanwhile
        return removed
