"""Where the server keeps things: a database for what is known, blobs for what was sent.

By default both lie in the server's own folder, of mode 0700, which one server process holds at a
time; the settings name a PostgreSQL and an object store that several servers share. A blob is
written whole and durably before its row is committed, and removed after its row is gone; what a
crash leaves between the two has no row, and is removed as an orphan (service/upkeep.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.blobs import BlobPlace
from service.database import Database
from service.incoming import Incoming
from service.records import ApplicationRecord, RunRecord, UploadRecord
from service.relay_key import RelayKeys
from settings import Settings
from utils.atomic_files import private_folder
from utils.errors import StorageFull
from utils.file_lock import hold_lock

MEGABYTE = 1_000_000
_KEPT = select(
    select(func.coalesce(func.sum(UploadRecord.size), 0)).scalar_subquery(),
    select(func.coalesce(func.sum(RunRecord.size), 0)).scalar_subquery(),
)
"""Bytes of all that was sent, and of all results."""
OPENING, QUEUE = 1, 2
"""Names of locks: for opening applications, and for adding to the queue."""


class Storage:
    """The database and the blobs of one server; thread-safe.

    Raises DataFolderInUse where another server uses the folder, StorageUnavailable where the
    database does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        folder = private_folder(settings.server_data)
        self._lock = _hold(folder / "lock")
        try:
            # Of the time before blobs had names by content; nothing refers to it any longer.
            shutil.rmtree(folder / "uploads", ignore_errors=True)
            self.incoming = Incoming(private_folder(folder / "incoming"))
            local = private_folder(folder / "blobs").as_uri() if not settings.blob_url else ""
            self.place = BlobPlace(settings.blob_url or local, settings.blob_options)
            self.blobs = self.place.open()
            self.relay_keys = RelayKeys(self.blobs)
            url = settings.database_url
            self._database = Database(
                f"sqlite:///{folder / 'applications.sqlite3'}"
                if url is None
                else url.get_secret_value()
            )
            self._database.prepare()
        except BaseException:
            self._lock.close()
            raise
        self._most = settings.storage_megabytes * MEGABYTE

    @property
    def shared(self) -> bool:
        """Whether other servers may use the same database."""
        return self._database.shared

    def read(self) -> Session:
        """A session that sees one consistent state; use it as a context manager."""
        return self._database.read()

    def write(self) -> AbstractContextManager[Session]:
        """A context manager whose session commits at its end, or rolls back on an error.

        In SQLite it is the only writer; in PostgreSQL, lock what you change (rules.live).
        """
        return self._database.write()

    def lock(self, session: Session, what: int) -> None:
        """Hold one of this module's locks until the transaction's end."""
        self._database.lock(session, what)

    def announce(self, session: Session, client_id: str) -> None:
        """Tell the other servers, when this transaction commits, that an application changed."""
        self._database.announce(session, client_id)

    def listen(self, changed: Callable[[str | None], None]) -> None:
        """Have `changed` called, in a thread, for what other servers announce (None: anything)."""
        self._database.listen(changed)

    def require_room(self, session: Session, size: int) -> None:
        """Raises StorageFull where `size` more bytes are more than may be kept at once."""
        sent, results = session.execute(_KEPT).one()
        if sent + results + size > self._most:
            raise StorageFull(
                "The server keeps as many ciphertexts as it may (TRISEAL_STORAGE_MEGABYTES); try "
                "again when some applications have ended.",
                retry_seconds=30.0,
            )

    def release(self, client_id: str, store: str, names: Iterable[str]) -> None:
        """Remove those of an application's blobs that no row of it names any longer.

        All of its store goes where the application itself is gone.
        """
        with self.write() as session:
            application = session.get(ApplicationRecord, client_id, with_for_update=True)
            if application is None or application.store != store:
                self.remove_store(store)
                return
            self.blobs.remove(store, set(names) - named_by(application))

    def remove_store(self, store: str) -> None:
        """Remove all blobs of an application that is gone, and the key that memory has of it."""
        self.blobs.remove_store(store)
        self.relay_keys.forget(store)

    def scrub(self) -> None:
        """See to it that erased rows are gone from the database's files as far as it can."""
        self._database.scrub()

    def probe(self) -> None:
        """Raises StorageUnavailable unless database and blobs answer."""
        self._database.probe()
        self.blobs.probe()

    def close(self) -> None:
        """Let go of database and folder."""
        self._database.close()
        self._lock.close()


def named_by(application: ApplicationRecord) -> set[str]:
    """The names of all blobs that an application's rows refer to."""
    named = {upload.sha256 for upload in application.uploads}
    if application.relay_key is not None:
        named.add(application.relay_key)
    named.update(run.sha256 for run in application.runs if run.sha256 is not None)
    return named


def _hold(path: Path) -> BinaryIO:
    """Lock the folder: at its start a server removes what looks left over by an earlier one."""
    return hold_lock(
        path,
        f"Another server uses {path.parent}; stop it, run a single process of this one, or "
        "set TRISEAL_SERVER_DATA to another folder.",
    )
