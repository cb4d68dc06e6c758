"""The server's storage: a database for state, and blobs for keys, ciphertexts and results.

By default both are in the server's own folder, of mode 0700, which one server process uses at a
time; the settings can name a PostgreSQL database and an object store that several servers share. A
database and a blob store belong together (service/storage/pairing.py). A blob is written completely
and durably before its row is committed, and removed after its row is deleted. A crash in between
leaves a blob without a row, which is removed as an orphan (service/garbage_collector.py).
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
from service.storage.log_keys import log_keys
from service.storage.message_keys import RelayKeys
from service.storage.pairing import Pair, pair, require_pair
from service.storage.prepared import Prepared
from service.storage.server_folder import DATABASE, SETTING, ServerFolder, in_use
from service.storage.tables import ApplicationRecord, RunRecord, UploadRecord
from settings import Settings
from utils.disk_errors import storage_fault
from utils.errors import DiskFull, StorageFull, StorageUnavailable
from utils.file_lock import hold_database_lock, hold_lock

MEGABYTE = 1_000_000
_KEPT = Prepared(
    select(
        select(func.coalesce(func.sum(UploadRecord.size), 0)).scalar_subquery().label("sent"),
        select(func.coalesce(func.sum(RunRecord.size), 0)).scalar_subquery().label("results"),
    )
)
"""Total bytes of all uploads, and of all results."""
OPENING, QUEUE, LOG = 1, 2, 3
"""Numbers of the locks for opening applications, for adding to the queue and to the log. Whoever
holds LOG waits for no other lock, so that transactions cannot deadlock."""

T = TypeVar("T")
P = ParamSpec("P")


class Storage:
    """The database and the blobs of one server; thread-safe.

    Raises DataFolderInUse if another server uses the folder, the database or the blob store,
    FolderNotOurs if a folder may not be Triseal's, StorageUnavailable if something cannot be used
    or reached (DiskFull for lack of space), and StoredDataDamaged for a damaged database. Foreign
    files and folders are left unchanged.
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
            self.log_keys = log_keys(settings)
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
        """True if other servers may use the same database."""
        return self._database.shared

    def read(self) -> Session:
        """Return a session that sees one consistent state; use it as a context manager."""
        return self._database.read()

    def write(self) -> AbstractContextManager[Session]:
        """Return a context manager whose session commits at its end, or rolls back on an error.

        In SQLite it is the only writer; in PostgreSQL, lock the rows that you change (rules.live).
        """
        return self._database.write()

    def lock(self, session: Session, what: int) -> None:
        """Hold one of this module's locks until the end of the transaction."""
        self._database.lock(session, what)

    def announce(self, session: Session, client_id: str) -> None:
        """Notify the other servers of a changed application when this transaction commits."""
        self._database.announce(session, client_id)

    def listen(self, changed: Callable[[str | None], None]) -> None:
        """Call `changed`, in a thread, with each announced id (None: any may have changed)."""
        self._database.listen(changed)

    def require_disk(self, size: int = 0) -> None:
        """Raise DiskFull if `size` more bytes would leave less space than must stay free."""
        self._reserve.require(size)

    def has_disk(self, size: int) -> bool:
        """Return True if `size` bytes can still be written, even if that fills the disk."""
        return self._reserve.has_room(size)

    def erasing(self, erase: Callable[[], T]) -> T:
        """Call `erase` and return its result; on a full disk, release the reserve and try again.

        `erase` must not have changed anything if it raises StorageUnavailable.
        """
        try:
            return erase()
        except StorageUnavailable as error:
            # SQLite does not distinguish an exhausted disk quota from other disk errors.
            full = isinstance(error, DiskFull) or self._is_disk_full()
            if not full or not self._reserve.release():
                raise
            return erase()

    def require_room(self, session: Session, size: int) -> None:
        """Raise StorageFull if `size` more bytes would exceed the storage limit."""
        sent, results = _KEPT.one_or_none(session)
        if sent + results + size > self._most:
            raise StorageFull(
                "The server has reached its limit for stored ciphertexts "
                "(TRISEAL_STORAGE_MEGABYTES); try again when some applications have expired or "
                "been erased.",
                retry_seconds=30.0,
            )

    def release(self, client_id: str, store: str, names: Iterable[str]) -> None:
        """Remove those of the named blobs that no row of the application refers to any longer.

        If the application itself is gone, its whole store is removed.
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
        """Remove all blobs of an application that is gone, and its key from memory."""
        self.blobs.remove_store(store)
        self.relay_keys.forget(store)

    def scrub(self) -> None:
        """Remove erased rows from the database's files, as far as the database can."""
        self.erasing(self._database.scrub)

    def require_pair(self) -> None:
        """Raise StorageUnavailable if the blob store no longer belongs to this database."""
        require_pair(self._pair, self.blobs)

    def probe(self) -> None:
        """Raise StorageUnavailable unless database and blobs work and enough space is free.

        After a fault, test writes must succeed too before the storage counts as healthy again.
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
        """Close the database and release the folder."""
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
            reserve.release()  # opening a database needs space too
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
                if not self.shared:  # a network folder may not support locks
                    raise
        return blobs, found


class _Stored(Protocol):
    _storage: Storage


S = TypeVar("S", bound=_Stored)


def even_when_full(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Decorate a method that erases or ends something so that it works on a full disk too.

    See Storage.erasing.
    """

    @wraps(method)
    def insisting(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._storage.erasing(lambda: method(self, *args, **kwargs))

    return insisting


def named_by(application: ApplicationRecord) -> set[str]:
    """Return the names of all blobs that an application's rows refer to."""
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
