"""Where the server keeps things: a database for what is known, blobs for what was sent.

By default both lie in the server's own folder, of mode 0700, which one server process holds at a
time; the settings name a PostgreSQL and an object store that several servers share. A database and
a store of blobs belong together (service/storage/pairing.py). A blob is written whole and durably
before its row is committed, and removed after its row is gone; what a crash leaves between the two
has no row, and is removed as an orphan (service/garbage_collector.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.storage.blob_backends import MARK
from service.storage.blobs import BlobPlace, Blobs
from service.storage.database import Database
from service.storage.database_connections import require_shared_database
from service.storage.disk_reserve import DiskReserve
from service.storage.health import StorageHealth
from service.storage.message_keys import RelayKeys
from service.storage.pairing import Pair, pair, require_pair
from service.storage.server_folder import DATABASE, SETTING, ServerFolder, in_use
from service.storage.tables import ApplicationRecord, RunRecord, UploadRecord
from settings import Settings
from utils.disk_errors import storage_fault
from utils.errors import DiskFull, StorageFull, StorageUnavailable
from utils.file_lock import hold_database_lock, hold_lock

MEGABYTE = 1_000_000
_KEPT = select(
    select(func.coalesce(func.sum(UploadRecord.size), 0)).scalar_subquery(),
    select(func.coalesce(func.sum(RunRecord.size), 0)).scalar_subquery(),
)
"""Bytes of all that was sent, and of all results."""
OPENING, QUEUE = 1, 2
"""Names of locks: for opening applications, and for adding to the queue."""

T = TypeVar("T")
P = ParamSpec("P")


class Storage:
    """The database and the blobs of one server; thread-safe.

    Raises DataFolderInUse where another server uses the folder, the database or the store of
    blobs, FolderNotOurs where a folder may be somebody else's, StorageUnavailable where something
    cannot be used or does not answer (DiskFull: for lack of room), and StoredDataDamaged for a
    database that is damaged. What is none of ours is left as it was.
    """

    def __init__(self, settings: Settings) -> None:
        url = None if settings.database_url is None else settings.database_url.get_secret_value()
        if url is not None:
            require_shared_database(url)
        folder = settings.server_data
        self.place = BlobPlace(
            settings.blob_url or (folder / "blobs").absolute().as_uri(), settings.blob_options
        )
        self.health = StorageHealth()
        self._most = settings.storage_megabytes * MEGABYTE
        with _usable(folder, SETTING), ExitStack() as undo:
            self._folder = undo.enter_context(closing(ServerFolder(folder)))
            self.incoming = self._folder.incoming
            self._reserve = self._open_reserve(settings)
            if url is None:
                path = folder / DATABASE
                self._folder.hold(hold_database_lock(path, in_use(path)))
                url = f"sqlite:///{path}"
            self._database = undo.enter_context(closing(Database(url, self.health.failed)))
            self._database.prepare()
            self.blobs, self._pair = self._open_blobs(settings)
            self.relay_keys = RelayKeys(self.blobs)
            undo.pop_all()

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

    def require_disk(self, size: int = 0) -> None:
        """Raise DiskFull where `size` more bytes leave less than is to be kept free."""
        self._reserve.require(size)

    def has_disk(self, size: int) -> bool:
        """Return whether `size` bytes can still be written, if need be to the last of the disk."""
        return self._reserve.has_room(size)

    def erasing(self, erase: Callable[[], T]) -> T:
        """Return what `erase` returns; where the disk is full, release the reserve and try again.

        Where it raises StorageUnavailable nothing may have been changed.
        """
        try:
            return erase()
        except StorageUnavailable as error:
            # SQLite tells of a quota that is used up as of any other fault of the disk.
            full = isinstance(error, DiskFull) or self._is_disk_full()
            if not full or not self._reserve.release():
                raise
            return erase()

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
        self.erasing(lambda: self._release(client_id, store, set(names)))

    def _release(self, client_id: str, store: str, names: set[str]) -> None:
        with self.write() as session:
            application = session.get(ApplicationRecord, client_id, with_for_update=True)
            if application is None or application.store != store:
                self.remove_store(store)
                return
            self.blobs.remove(store, names - named_by(application))

    def remove_store(self, store: str) -> None:
        """Remove all blobs of an application that is gone, and the key that memory has of it."""
        self.blobs.remove_store(store)
        self.relay_keys.forget(store)

    def scrub(self) -> None:
        """See to it that erased rows are gone from the database's files as far as it can."""
        self.erasing(self._database.scrub)

    def require_pair(self) -> None:
        """Raise StorageUnavailable where the store of blobs is no longer this database's."""
        require_pair(self._pair, self.blobs)

    def probe(self) -> None:
        """Raise StorageUnavailable unless database and blobs answer and there is room for more.

        After a fault they must also take something that is written; until then it lasts.
        """
        try:
            self._reserve.require()
            self._database.probe()
            self.blobs.probe()
            self.require_pair()
            if self.health.fault is not None:
                self._database.try_write()
                self.blobs.try_write()
                self.incoming.try_write()
        except StorageUnavailable as fault:
            self.health.failed(fault)
            raise
        self.health.works()

    def close(self) -> None:
        """Let go of database and folder."""
        self._database.close()
        self._folder.close()

    def _is_disk_full(self) -> bool:
        try:
            self.incoming.try_write()
        except DiskFull:
            return True
        except StorageUnavailable:
            pass
        return False

    def _open_reserve(self, settings: Settings) -> DiskReserve:
        size = int(settings.disk_reserve_megabytes * MEGABYTE)
        reserve = DiskReserve(settings.server_data, size)
        reserve.clear_unfinished()
        if not reserve.has_room(MEGABYTE):
            reserve.release()  # opening a database takes room too
        else:
            reserve.restore()
        return reserve

    def _open_blobs(self, settings: Settings) -> tuple[Blobs, Pair]:
        folder = self.place.folder
        own = settings.blob_url is None and folder is not None and not folder.is_symlink()
        if folder is not None:
            setting = "TRISEAL_BLOB_URL" if settings.blob_url else SETTING
            with _usable(folder, setting):
                self._folder.claim_blobs(folder, setting)
            self._reserve.watch(folder)
        blobs = self.place.open(self.health.failed)
        found = pair(self._database, blobs, own=own)
        if folder is not None:
            try:
                self._folder.hold(hold_lock(folder / MARK, in_use(folder), shared=self.shared))
            except OSError:
                if not self.shared:  # a folder on the network may have no locks
                    raise
        return blobs, found


class _Stored(Protocol):
    _storage: Storage


S = TypeVar("S", bound=_Stored)


def even_when_full(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Have a method that erases or ends something work on a full disk too (Storage.erasing)."""

    @wraps(method)
    def insisting(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._storage.erasing(lambda: method(self, *args, **kwargs))

    return insisting


def named_by(application: ApplicationRecord) -> set[str]:
    """The names of all blobs that an application's rows refer to."""
    named = {upload.sha256 for upload in application.uploads}
    if application.relay_key is not None:
        named.add(application.relay_key)
    named.update(run.sha256 for run in application.runs if run.sha256 is not None)
    return named


@contextmanager
def _usable(folder: Path, setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_fault(
            f"{folder} cannot be used: set {setting} to a folder that the server may write to",
            error,
        ) from error
