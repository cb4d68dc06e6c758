"""The server's own folder: recognised, marked and locked before anything in it is changed.

A setting may name any folder by mistake, and a server empties parts of its own folder. So the
folder and those parts carry a mark (utils/marked_folder.py). A folder without a mark must be empty;
one for blobs may hold blobs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from service.storage.blob_backends import OTHER_NAMES
from service.storage.incoming import Incoming
from utils.file_lock import hold_lock
from utils.marked_folder import MARK, claim_folder

DATABASE = "applications.sqlite3"
SETTING = "TRISEAL_SERVER_DATA"
_LOCK = "lock"
_SERVER, _INCOMING, _BLOBS = "server data", "arriving uploads", "ciphertexts"
_STORE = re.compile(r"[0-9a-f]{32}")


class ServerFolder:
    """The folder and the locks on it, which are held until `close`.

    Raises FolderNotOurs, before anything is changed, if the folder may not be Triseal's,
    DataFolderInUse if another server uses it, and OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locks: list[BinaryIO] = []
        claim_folder(path, _SERVER, setting=SETTING)
        try:
            self.hold(hold_lock(path / _LOCK, in_use(path)))
            self.incoming = self._incoming()
        except BaseException:
            self.close()
            raise

    def hold(self, lock: BinaryIO) -> None:
        """Keep another lock until `close`."""
        self._locks.append(lock)

    def claim_blobs(self, folder: Path, setting: str) -> None:
        """Mark the folder of the blobs; raises the same errors as the constructor."""
        claim_folder(folder, _BLOBS, setting=setting, made_earlier=_holds_only_blobs)

    def close(self) -> None:
        """Release the locks on the folder."""
        for lock in reversed(self._locks):
            lock.close()
        self._locks.clear()

    def _incoming(self) -> Incoming:
        folder = self.path / "incoming"
        claim_folder(folder, _INCOMING, setting=SETTING)
        # It may be a link to a folder that another server empties too.
        self.hold(hold_lock(folder / MARK, in_use(folder)))
        return Incoming(folder)


def in_use(path: Path) -> str:
    """Return the error message for a folder or database that another server uses."""
    return (
        f"Another server uses {path}; stop it, run a single process of this one, or set "
        f"{SETTING} to another folder."
    )


def _holds_only_blobs(folder: Path) -> bool:
    """Return True if the folder holds only applications' stores and Triseal's own files."""
    return all(
        path.name in OTHER_NAMES
        or (_STORE.fullmatch(path.name) and path.is_dir() and not path.is_symlink())
        for path in folder.iterdir()
    )
