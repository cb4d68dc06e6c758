"""Where the server keeps things: SQLite for what is known, files for what was sent.

Everything lies in one folder of mode 0700 that one server process holds at a time. A blob is
written whole and synced before its row is committed, and removed after its row is gone; what a
crash leaves between the two has no row, and is removed as an orphan.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from service.records import FORMAT, Record, RunRecord, UploadRecord
from utils.atomic_files import PRIVATE_FILE, private_folder, write_atomic
from utils.file_lock import hold_lock

BUSY_SECONDS = 10.0
"""How long a transaction waits for another one's end."""

_WRITES = "triseal_writes"


class Storage:
    """The database and the blobs of one server.

    Raises DataFolderInUse where another server uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        self._uploads = private_folder(folder / "uploads")
        self._lock = _hold(folder / "lock")
        database = folder / "applications.sqlite3"
        database.touch(PRIVATE_FILE)
        self._engine = _connect(database)
        _prepare(self._engine)
        self._reader = sessionmaker(self._engine)
        self._writer = sessionmaker(self._engine.execution_options(**{_WRITES: True}))

    def read(self) -> Session:
        """A session that sees one consistent state; use it as a context manager."""
        return self._reader()

    def write(self) -> AbstractContextManager[Session]:
        """A context manager whose session is the only writer; commits, or rolls back on error."""
        return self._writer.begin()

    def new_blob(self) -> Path:
        """A path that nothing lies at yet; only its name goes into the database."""
        return self._uploads / secrets.token_hex(16)

    def blob(self, name: str) -> Path:
        """Where the blob of that name, which a row gave, lies."""
        return self._uploads / name

    def write_blob(self, data: bytes) -> str:
        """Store bytes and return the blob's name."""
        path = self.new_blob()
        write_atomic(path, data)
        return path.name

    def remove_blobs(self, names: Iterable[str]) -> None:
        """Remove blobs that no row names any longer."""
        for name in names:
            self.blob(name).unlink(missing_ok=True)

    def remove_orphans(self, older_than: float) -> int:
        """Remove files without a row that are older than so many seconds; answers how many."""
        oldest = time.time() - older_than
        # Listed before the rows are read: what gets its row in between is in `known`.
        candidates = list(self._uploads.iterdir())
        with self.read() as session:
            known = set(session.scalars(select(UploadRecord.blob)))
            known.update(b for b in session.scalars(select(RunRecord.blob)) if b is not None)
        removed = 0
        for path in candidates:
            try:
                if path.name not in known and path.stat().st_mtime <= oldest:
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # a request has removed it itself
        return removed

    def scrub(self) -> None:
        """Write the log of changes into the database and empty it, so that erased rows are gone.

        Rows that were erased are overwritten in the database (secure_delete), but earlier images
        of their pages stay in SQLite's write-ahead log until it is emptied.
        """
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._engine.dispose()
        self._lock.close()


def _hold(path: Path) -> BinaryIO:
    """Lock the folder: at its start a server removes what looks left over by an earlier one."""
    return hold_lock(
        path,
        f"Another server uses {path.parent}; stop it, run a single process of this one, or "
        "set TRISEAL_SERVER_DATA to another folder.",
    )


def _prepare(engine: Engine) -> None:
    """Make the tables; those of another format go, and their blobs as orphans at the start."""
    with engine.execution_options(**{_WRITES: True}).begin() as connection:
        found = connection.exec_driver_sql("PRAGMA user_version").scalar()
        if found != FORMAT:
            Record.metadata.drop_all(connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {FORMAT:d}")
        Record.metadata.create_all(connection)


def _connect(database: Path) -> Engine:
    engine = create_engine(
        f"sqlite:///{database}", connect_args={"timeout": BUSY_SECONDS, "isolation_level": None}
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: ConnectionPoolEntry) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=NORMAL",
            "foreign_keys=ON",
            "secure_delete=ON",  # erased rows are overwritten
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # sqlite3's own transactions start late; a check and the write after it need one lock.
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
