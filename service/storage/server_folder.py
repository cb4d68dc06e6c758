"""The server's own folder: recognised, marked and locked before anything in it is changed.

A setting may name any folder by mistake, and a server empties parts of its own folder. So the
folder and those parts carry a mark (utils/marked_folder.py). A folder without a mark must be empty
or come from an earlier version of the server.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from service.storage.blob_backends import OTHER_NAMES
from service.storage.incoming import ARRIVING, Incoming
from service.storage.operator_token import FILE as OPERATOR_TOKEN
from utils.file_lock import hold_lock
from utils.marked_folder import MARK, claim_folder, is_marked, require_ours

DATABASE = "applications.sqlite3"
SETTING = "TRISEAL_SERVER_DATA"
_LOCK = "lock"
_SERVER, _INCOMING, _BLOBS = "server data", "arriving uploads", "ciphertexts"
_STORE = re.compile(r"[0-9a-f]{32}")
_TABLE = re.compile(rb'CREATE TABLE "?applications"? ')
_LOG_BYTES = 1 << 22
_NAMES = frozenset({_LOCK, "incoming", "blobs", "uploads", OPERATOR_TOKEN, DATABASE})


class ServerFolder:
    """The folder and the locks on it, which are held until `close`.

    Raises FolderNotOurs, before anything is changed, if the folder may not be Triseal's,
    DataFolderInUse if another server uses it, and OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locks: list[BinaryIO] = []
        require_ours(path, _SERVER, setting=SETTING, made_earlier=_made_by_a_server)
        new = not is_marked(path, _SERVER)
        claim_folder(path, _SERVER, setting=SETTING, made_earlier=_made_by_a_server)
        try:
            self.hold(hold_lock(path / _LOCK, in_use(path)))
            if new:
                # From versions that did not name blobs by content; nothing refers to it any more.
                shutil.rmtree(path / "uploads", ignore_errors=True)
            self.incoming = self._incoming()
        except BaseException:
            self.close()
            raise

    def hold(self, lock: BinaryIO) -> None:
        """Keep another lock until `close`."""
        self._locks.append(lock)

    def claim_blobs(self, folder: Path, setting: str) -> None:
        """Mark the folder of the blobs; raises the same errors as the constructor."""
        claim_folder(folder, _BLOBS, setting=setting, made_earlier=_made_for_blobs)

    def close(self) -> None:
        """Release the locks on the folder."""
        for lock in reversed(self._locks):
            lock.close()
        self._locks.clear()

    def _incoming(self) -> Incoming:
        folder = self.path / "incoming"
        claim_folder(folder, _INCOMING, setting=SETTING, made_earlier=_only(ARRIVING))
        # It may be a link to a folder that another server empties too.
        self.hold(hold_lock(folder / MARK, in_use(folder)))
        return Incoming(folder)


def in_use(path: Path) -> str:
    """Return the error message for a folder or database that another server uses."""
    return (
        f"Another server uses {path}; stop it, run a single process of this one, or set "
        f"{SETTING} to another folder."
    )


def _made_by_a_server(folder: Path) -> bool:
    """Return True if a server version without marks made the folder.

    All of these left an empty file `lock`. Next to it is a database with a server's tables or, with
    PostgreSQL, nothing but the files and folders of a server.
    """
    lock = folder / _LOCK
    if lock.is_symlink() or not lock.is_file() or lock.stat().st_size:
        return False
    if (folder / DATABASE).is_file():
        return _has_tables(folder / DATABASE)
    names = {path.name for path in folder.iterdir() if not path.name.startswith(f".{MARK}.")}
    return (
        names <= _NAMES - {"uploads"}
        and (folder / "incoming").is_dir()
        and _only(ARRIVING)(folder / "incoming")
        and (not (folder / "blobs").exists() or _made_for_blobs(folder / "blobs"))
    )


def _has_tables(path: Path) -> bool:
    """Return True if the file is a server's database, without writing any file."""
    with suppress(sqlite3.Error):
        address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as connection:
            columns = connection.execute("PRAGMA table_info(applications)").fetchall()
            if any((name, key) == ("client_id", 1) for _, name, _, _, _, key in columns):
                return True
    # If a server was killed soon after it created the tables, they are only in the log.
    with suppress(FileNotFoundError), path.with_name(f"{DATABASE}-wal").open("rb") as log:
        return _TABLE.search(log.read(_LOG_BYTES)) is not None
    return False


def _made_for_blobs(folder: Path) -> bool:
    """Return True if the folder holds only applications' stores and Triseal's own files."""
    return all(
        path.name in OTHER_NAMES
        or (_STORE.fullmatch(path.name) and path.is_dir() and not path.is_symlink())
        for path in folder.iterdir()
    )


def _only(names: re.Pattern[str]) -> Callable[[Path], bool]:
    """Return a predicate that is true for folders that hold only files with such names."""

    def only(folder: Path) -> bool:
        return all(
            path.is_file() and not path.is_symlink() and names.fullmatch(path.name)
            for path in folder.iterdir()
            if path.name != MARK
        )

    return only
