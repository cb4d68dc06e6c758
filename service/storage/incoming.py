"""A server's own folder for uploads that are still arriving.

A file stays here from its first byte until it becomes a blob (service/storage/blobs.py). Files left
by a crash are of no use, so a server empties the folder when it starts.
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
"""The names of the files: an upload, and its second link for the process that checks it."""


class Incoming:
    """The folder, created with mode 0700 if missing. One server process uses it.

    Since it is emptied, the caller must have claimed it first (service/storage/server_folder.py).
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        self._folder = folder

    def new(self) -> Path:
        """Return an unused path in the folder."""
        return self._folder / secrets.token_hex(16)

    def try_write(self) -> None:
        """Write and remove a file; raises StorageUnavailable if that fails."""
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
        """Remove files last written more than `older_than` seconds ago; return their number."""
        newest = time.time() - older_than
        removed = 0
        for path in self._folder.iterdir():
            if not ARRIVING.fullmatch(path.name):
                continue  # not created by a server
            try:
                if path.stat().st_mtime <= newest:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its upload has ended in the meantime
        return removed
