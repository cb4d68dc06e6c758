"""The server's database: SQLite in a file by default, or PostgreSQL, shared by several servers.

Both give callers the same guarantees: a reader sees one consistent state, and a writer commits at
its end or not at all. In SQLite there is one writer at a time; in PostgreSQL a writer locks the
rows that it changes. If the database does not respond, calls raise StorageUnavailable.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, func, inspect, select, text, update
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from service.storage.database_connections import (
    BUSY_SECONDS,
    WRITES,
    address_of,
    postgresql,
    sqlite,
)
from service.storage.health import OnFault, untold
from service.storage.prepared import forget_cursor
from service.storage.tables import PairingRecord, Record, table_of
from utils.errors import DiskFull, StorageError, StorageUnavailable, StoredDataDamaged

if TYPE_CHECKING:
    import psycopg

    from service.storage.notifications import Listener

LOCKS = 0x7472
"""First half of the keys of Triseal's advisory locks, apart from those of other programs."""
PREPARING = 0
"""The number of the lock for upgrading the tables; callers' locks have other numbers."""
PREPARING_SECONDS = 300
_IN_THE_WAY = frozenset({"40P01", "40001", "55P03"})  # deadlock, serialisation, lock timeout
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNUSABLE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
_DISK_FULL = "53100"


class Database:
    """A database at `sqlite:///path` or `postgresql+psycopg://…`; thread-safe.

    `on_fault` is called if the database fails, but not for conflicts with other transactions.
    Raises StorageUnavailable for any other URL. PostgreSQL is not contacted before the first use.
    """

    shared: bool
    """True if other servers may use the database."""

    def __init__(self, url: str, on_fault: OnFault = untold) -> None:
        self._address = address_of(url)
        self._on_fault = on_fault
        self.shared = self._address.get_backend_name() == "postgresql"
        self._listener: Listener | None = None
        reads: dict[str, Any] = {}
        writes: dict[str, Any] = {WRITES: True}
        if self.shared:
            self._engine = postgresql(self._address)
            reads = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        else:
            self._engine = sqlite(self._address)
        info = {_ON_FAULT: on_fault}
        self._reader = sessionmaker(
            self._engine.execution_options(**reads), class_=_Session, info=info
        )
        self._writer = sessionmaker(
            self._engine.execution_options(**writes), class_=_Session, info=info
        )
        self._alone = threading.Lock()
        self._counting = threading.Lock()
        self._erased = self._scrubbed = 0

    def prepare(self) -> None:
        """Upgrade the tables from any earlier version to those of service/storage/tables.py.

        Servers that start at the same time wait for each other; call it in one thread of one
        process. Raises StorageUnavailable, also for a database of a later version, one with other
        tables or one whose user may not create tables, and StoredDataDamaged.
        """
        from alembic.util import CommandError

        try:
            with self._answering():
                self._upgrade_shared() if self.shared else self._upgrade_file()
        except StoredDataDamaged as error:
            raise StoredDataDamaged(
                "The server's database is damaged: restore a backup, or set TRISEAL_SERVER_DATA to "
                "another folder."
            ) from error
        except CommandError as error:
            raise StorageUnavailable(
                "The server's database was made by another version of Triseal; start that version, "
                "or set TRISEAL_DATABASE_URL or TRISEAL_SERVER_DATA to another place."
            ) from error
        except ProgrammingError as error:
            raise StorageUnavailable(
                f"The server's tables could not be created ({type(error.orig).__name__}): "
                "TRISEAL_DATABASE_URL must name a database of Triseal's own, whose user may create "
                "tables."
            ) from error

    def read(self) -> Session:
        """Return a session that sees one consistent state; use it as a context manager."""
        return self._reader()

    def write(self) -> AbstractContextManager[Session]:
        """Return a context manager whose session commits at its end, or rolls back on an error.

        Raises StorageUnavailable, at any point, if the database does not respond or another
        transaction conflicts; the transaction may or may not have been committed then.
        """
        return self._writer.begin() if self.shared else self._one_writer()

    def announce(self, session: Session, client_id: str) -> None:
        """Notify the other servers of a changed application when this transaction commits."""
        if self.shared:
            from service.storage.notifications import CHANNEL

            session.execute(select(func.pg_notify(CHANNEL, client_id)))

    def listen(self, changed: Callable[[str | None], None]) -> None:
        """Start a thread that calls `changed` with each id announced by any server, even this one.

        It is called with None if anything may have changed: each time that the thread connects,
        including the first. Does nothing for SQLite, which no other server uses.
        """
        if self.shared:
            from service.storage.notifications import Listener

            self._listener = Listener(self._own_connection, changed)
            self._listener.start()

    def lock(self, session: Session, what: int) -> None:
        """Hold the lock with the number `what`, above 0, until the end of the transaction."""
        if self.shared:
            session.execute(select(func.pg_advisory_xact_lock(LOCKS, what)))
        else:
            session.connection()  # begins the transaction, which excludes all other writers

    def scrub(self) -> None:
        """Remove erased rows from the database's files, as far as the database can.

        In a SQLite file erased rows are overwritten (secure_delete), but earlier images of their
        pages stay in the write-ahead log until it is emptied. PostgreSQL frees their space, which
        later rows overwrite.
        """
        with self._answering():
            if not self.shared:
                self._empty_log_once()
                return
            names = ", ".join(table.name for table in Record.metadata.sorted_tables)
            alone = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            with alone.connect() as connection:
                connection.execute(text(f"VACUUM (SKIP_LOCKED) {names}"))

    def probe(self) -> None:
        """Raise StorageUnavailable unless the database responds."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def try_write(self) -> None:
        """Rewrite a row unchanged; raises StorageUnavailable if nothing can be written."""
        pairing = table_of(PairingRecord)
        with self.write() as session:
            session.execute(update(pairing).values(database=pairing.c.database))

    def close(self) -> None:
        """Close all connections."""
        if self._listener is not None:
            self._listener.end()
        self._engine.dispose()

    @contextmanager
    def _one_writer(self) -> Iterator[Session]:
        with self._one_at_a_time(), self._writer.begin() as session:
            yield session

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        # SQLite waits for another writer by sleeping, sometimes for long, and not in fair order.
        if not self._alone.acquire(timeout=BUSY_SECONDS):
            raise StorageUnavailable("The server's database is busy; try again in a moment.")
        try:
            yield
        finally:
            self._alone.release()

    def _upgrade_shared(self) -> None:
        with self._engine.begin() as connection:
            for limit in ("lock_timeout", "statement_timeout"):
                connection.execute(text(f"SET LOCAL {limit} = '{PREPARING_SECONDS}s'"))
            connection.execute(select(func.pg_advisory_xact_lock(LOCKS, PREPARING)))
            _upgrade(connection)

    def _upgrade_file(self) -> None:
        engine = sqlite(self._address, foreign_keys=False)
        try:
            with engine.execution_options(**{WRITES: True}).begin() as connection:
                tables = inspect(connection).get_table_names()
                if tables and "alembic_version" not in tables:
                    raise StorageUnavailable(
                        "The server's database has tables that Triseal did not create: set "
                        "TRISEAL_SERVER_DATA to another folder."
                    )
                _upgrade(connection)
        finally:
            engine.dispose()

    def _empty_log_once(self) -> None:
        """Empty the log; one pass also serves the callers that were waiting before it began."""
        with self._counting:
            self._erased += 1
            own = self._erased
        # Writers are excluded here, since SQLite would make the checkpoint wait by sleeping.
        with self._one_at_a_time():
            if self._scrubbed >= own:
                return
            goal = self._erased
            self._empty_log()
            self._scrubbed = goal

    def _empty_log(self) -> None:
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def _own_connection(self) -> psycopg.Connection:
        """Return a connection outside the pool, which the caller must close."""
        pooled = self._engine.raw_connection()
        connection = cast("psycopg.Connection", pooled.driver_connection)
        pooled.detach()
        connection.autocommit = True
        return connection

    def _answering(self) -> AbstractContextManager[None]:
        return _answering(self._on_fault)


_ON_FAULT = "triseal_on_fault"


class _Session(Session):
    """A session that raises StorageUnavailable if the database fails, at the commit too."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        forget_cursor(self)
        with _answering(self.info[_ON_FAULT]):
            super().__exit__(kind, error, trace)
            if error is not None and _fault(error) is not None:
                raise error


def _upgrade(connection: Connection) -> None:
    # Imported here, since it takes a while and neither workers nor reading commands need it.
    from alembic import command

    from service.storage.migrations import configuration

    command.upgrade(configuration(connection), "head")


@contextmanager
def _answering(on_fault: OnFault) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        fault = _fault(error)
        if fault is None:
            raise
        if isinstance(fault, StorageUnavailable) and not _is_in_the_way(error):
            on_fault(fault, _cause(error))
        raise fault from error


def _is_in_the_way(error: Any) -> bool:
    """Return True if other transactions caused the error, and not the database itself."""
    return (
        isinstance(error, PoolTimeoutError)
        or getattr(_original(error), "sqlstate", None) in _IN_THE_WAY
        or _kind(error) in _BUSY
    )


def _fault(error: Any) -> StorageError | None:
    """Return the error to raise for a database error; None if that indicates a bug in Triseal."""
    state = getattr(_original(error), "sqlstate", None)
    if state in _IN_THE_WAY:
        return StorageUnavailable(
            "Another change in the server's database conflicted with this one; try again."
        )
    if _is_in_the_way(error):
        return StorageUnavailable("The server's database is busy; try again in a moment.")
    if _kind(error) in _BROKEN:
        return StoredDataDamaged("The server's database is damaged; tell the server's operator.")
    if _kind(error) == sqlite3.SQLITE_FULL or state == _DISK_FULL:
        return DiskFull("The server's database has no room on its disk; try again later.")
    if _kind(error) in _UNUSABLE:
        return StorageUnavailable(
            "The server cannot read or write its database; try again in a minute."
        )
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or isinstance(error, (OperationalError, InterfaceError, sqlite3.OperationalError)):
        return StorageUnavailable("The server's database does not respond; try again in a minute.")
    return None


def _original(error: Any) -> Any:
    return error.orig if isinstance(error, DBAPIError) else error


def _kind(error: Any) -> int:
    """Return SQLite's primary error code, without the extended bits; 0 if there is none."""
    return (getattr(_original(error), "sqlite_errorcode", None) or 0) & 0xFF


def _cause(error: Any) -> str:
    """Return the error's code for the log, without text that could name a host or a value."""
    original = _original(error)
    state = getattr(original, "sqlstate", None)
    name = getattr(original, "sqlite_errorname", None) or type(original).__name__
    return f"{name} {state}" if state else str(name)
