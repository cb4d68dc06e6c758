"""The file in which an agent keeps a training: a SQLite database that its user alone can read.

Everything that belongs together is saved in one transaction, so that a crash leaves the state of
before or after a step. Results only grow, so that each is written once.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from utils.atomic_files import PRIVATE_FILE, private_folder
from utils.errors import StoreDamaged
from utils.file_lock import HeldLock, hold_lock

M = TypeVar("M", bound=BaseModel)

_TABLES = """
CREATE TABLE IF NOT EXISTS parts (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""


def restored(kind: type[M] | TypeAdapter[M], body: bytes) -> M:
    """Parse a saved part or result; raises StoreDamaged."""
    parse = kind.validate_json if isinstance(kind, TypeAdapter) else kind.model_validate_json
    try:
        return parse(body)
    except (ValidationError, RecursionError):
        # Without its cause, whose text would show secrets.
        raise StoreDamaged(
            "The saved state of this training is damaged, or of another version. Do not restore an "
            "older copy: leave the training, and start or join a new one in another folder."
        ) from None


class StateFile:
    """The parts and results of one training; methods raise StoreDamaged, and are thread-safe."""

    def __init__(self, path: Path, held: HeldLock) -> None:
        self._path, self._held = path, held
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            # Secrets that a save replaces are overwritten; in the log they last until it is reused.
            self._database.execute("PRAGMA secure_delete = ON")
            self._database.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise self._damaged() from error

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file; raises DataFolderInUse if another process has it open."""
        private_folder(path.parent)
        held = hold_lock(
            path.with_suffix(".lock"),
            f"Another process has {path.parent} open; stop it, or choose another folder by --home.",
        )
        try:
            # SQLite gives its other files the permissions of this one.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, PRIVATE_FILE))
            return cls(path, held)
        except BaseException:
            held.close()
            raise

    def part(self, name: str) -> bytes | None:
        """Return a part, or None if it was never saved."""
        found = self._read("SELECT body FROM parts WHERE name = ?", (name,))
        return bytes(found[0][0]) if found else None

    def model(self, name: str, kind: type[M]) -> M | None:
        """Return a part that was saved as the JSON of a model, or None if it never was."""
        body = self.part(name)
        return None if body is None else restored(kind, body)

    def results(self) -> tuple[bytes, ...]:
        """Return all results, in order."""
        return tuple(
            bytes(row[0]) for row in self._read("SELECT body FROM results ORDER BY number")
        )

    def save(
        self, parts: Mapping[str, bytes], first: int = 0, results: Sequence[bytes] = ()
    ) -> None:
        """Save parts, and results from number `first` on, all or none."""
        rows = [(first + i, body) for i, body in enumerate(results)]
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                self._database.executemany(
                    "INSERT OR REPLACE INTO parts VALUES (?, ?)", list(parts.items())
                )
                self._database.executemany("INSERT OR REPLACE INTO results VALUES (?, ?)", rows)
                self._database.execute("COMMIT")
            except sqlite3.DatabaseError as error:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise self._damaged() from error

    def close(self) -> None:
        """Close the file, and let other processes open it."""
        with self._lock:
            self._database.close()
        self._held.close()

    def _read(self, query: str, values: tuple[str, ...] = ()) -> list[tuple[bytes]]:
        with self._lock:
            try:
                return self._database.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise self._damaged() from error

    def _damaged(self) -> StoreDamaged:
        return StoreDamaged(
            f"{self._path} cannot be read or written. If the disk is full, make room and start "
            "again. If the file was altered or is of another release, begin another training in "
            "another folder, by --home. Do not put back an older copy: it would not know which "
            "sums were opened."
        )
