"""The server's database: SQLite in a file by default, or a PostgreSQL that several servers share.

Transactions are the same on both as far as a caller needs: a reader sees one consistent state, and
a writer commits at its end or not at all. In SQLite a writer is alone; in PostgreSQL it locks the
rows that it changes. A database that does not answer raises StorageUnavailable.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import Connection, MetaData, func, inspect, select, text, update
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
from service.storage.tables import PairingRecord, Record, table_of
from utils.errors import DiskFull, StorageError, StorageUnavailable, StoredDataDamaged

if TYPE_CHECKING:
    import psycopg

    from service.storage.notifications import Listener

LOCKS = 0x7472
"""First half of the names of all our advisory locks, so that others in the database have theirs."""
PREPARING = 0
"""The lock of bringing the tables up to date; callers' locks have other numbers."""
PREPARING_SECONDS = 300
_IN_THE_WAY = frozenset({"40P01", "40001", "55P03"})  # deadlock, serialisation, lock timeout
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_UNUSABLE = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
_DISK_FULL = "53100"


class Database:
    """Thread-safe. `url` is `sqlite:///path` or `postgresql+psycopg://…`.

    `on_fault` is told where the database fails, but not where others were in the way.

    Raises StorageUnavailable for another address. PostgreSQL is first asked when it is used.
    """

    shared: bool
    """Whether other servers may use it."""

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
        """Bring the tables to what service/storage/tables.py has, whatever version made them.

        A SQLite file of the time before migrations is emptied: applications last for hours.
        Servers that start at once wait for each other; one process does it in one thread. Raises
        StorageUnavailable, also for a database of a later version or one whose user may not make
        tables, and StoredDataDamaged.
        """
        from alembic.util import CommandError

        try:
            with self._answering():
                self._upgrade_shared() if self.shared else self._upgrade_file()
        except StoredDataDamaged as error:
            raise StoredDataDamaged(
                "The server's database is damaged: put a backup in its place, or set "
                "TRISEAL_SERVER_DATA to another folder."
            ) from error
        except CommandError as error:
            raise StorageUnavailable(
                "The server's database was made by another version of Triseal; start that one, or "
                "set TRISEAL_DATABASE_URL or TRISEAL_SERVER_DATA to another place."
            ) from error
        except ProgrammingError as error:
            raise StorageUnavailable(
                f"The server's tables could not be made ({type(error.orig).__name__}): "
                "TRISEAL_DATABASE_URL has to name a database of Triseal's own, whose user may make "
                "tables."
            ) from error

    def read(self) -> Session:
        """A session that sees one consistent state; use it as a context manager."""
        return self._reader()

    def write(self) -> AbstractContextManager[Session]:
        """A context manager whose session commits at its end, or rolls back on an error.

        Raises StorageUnavailable at any point where the database does not answer, and where two
        writers were in each other's way; whether it was committed is then not known.
        """
        return self._writer.begin() if self.shared else self._one_writer()

    def announce(self, session: Session, client_id: str) -> None:
        """Tell the other servers, when this transaction commits, that an application changed."""
        if self.shared:
            from service.storage.notifications import CHANNEL

            session.execute(select(func.pg_notify(CHANNEL, client_id)))

    def listen(self, changed: Callable[[str | None], None]) -> None:
        """Have a thread call `changed` with what any server announces, this one included.

        It is called with None whenever anything may have changed: each time that the thread has
        connected, the first included. Does nothing for SQLite, which no other server uses.
        """
        if self.shared:
            from service.storage.notifications import Listener

            self._listener = Listener(self._own_connection, changed)
            self._listener.start()

    def lock(self, session: Session, what: int) -> None:
        """Hold the lock of that number, above 0, until the transaction's end."""
        if self.shared:
            session.execute(select(func.pg_advisory_xact_lock(LOCKS, what)))
        else:
            session.connection()  # from here on this writer is alone

    def scrub(self) -> None:
        """See to it that erased rows are gone from the files, as far as the database can.

        Rows that were erased are overwritten in a SQLite file (secure_delete), but earlier images
        of their pages stay in its write-ahead log until that is emptied. PostgreSQL frees their
        space, which later rows overwrite.
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
        """Raises StorageUnavailable unless the database answers."""
        with self.read() as session:
            session.execute(text("SELECT 1"))

    def try_write(self) -> None:
        """Write a row as it is; raises StorageUnavailable where nothing can be written."""
        pairing = table_of(PairingRecord)
        with self.write() as session:
            session.execute(update(pairing).values(database=pairing.c.database))

    def close(self) -> None:
        """Let go of all connections."""
        if self._listener is not None:
            self._listener.end()
        self._engine.dispose()

    @contextmanager
    def _one_writer(self) -> Iterator[Session]:
        with self._one_at_a_time(), self._writer.begin() as session:
            yield session

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        # SQLite's own waiting for another writer is a sleep, at times a long one, and not fair.
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
                old = bool(tables) and "alembic_version" not in tables
                if old:
                    found = MetaData()
                    found.reflect(connection)
                    found.drop_all(connection)
                _upgrade(connection)
        finally:
            engine.dispose()
        if old:
            self._empty_log()

    def _empty_log_once(self) -> None:
        """Empty it once for all whose rows went before; those who wait meanwhile need not."""
        with self._counting:
            self._erased += 1
            own = self._erased
        # No writer meanwhile: SQLite would have it wait in sleeps, with our lock in its hands.
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
        """One outside of the pool, which its user closes."""
        pooled = self._engine.raw_connection()
        connection = cast("psycopg.Connection", pooled.driver_connection)
        pooled.detach()
        connection.autocommit = True
        return connection

    def _answering(self) -> AbstractContextManager[None]:
        return _answering(self._on_fault)


_ON_FAULT = "triseal_on_fault"


class _Session(Session):
    """Leaves with StorageUnavailable where the database does not answer, at the commit too."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        with _answering(self.info[_ON_FAULT]):
            super().__exit__(kind, error, trace)
            if _fault(error) is not None:
                raise error


def _upgrade(connection: Connection) -> None:
    # Imported here: it takes a while, and workers and commands that read have no need of it.
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
    """Whether other transactions are the cause, and not the database itself."""
    return (
        isinstance(error, PoolTimeoutError)
        or getattr(_original(error), "sqlstate", None) in _IN_THE_WAY
        or _kind(error) in _BUSY
    )


def _fault(error: Any) -> StorageError | None:
    """What a caller is told of an error of the database; None for one that is a bug of ours."""
    state = getattr(_original(error), "sqlstate", None)
    if state in _IN_THE_WAY:
        return StorageUnavailable(
            "Another change was in this one's way in the server's database; try again."
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
        return StorageUnavailable("The server's database does not answer; try again in a minute.")
    return None


def _original(error: Any) -> Any:
    return error.orig if isinstance(error, DBAPIError) else error


def _kind(error: Any) -> int:
    """SQLite's code without its details, which are in the higher bytes; 0 for what has none."""
    return (getattr(_original(error), "sqlite_errorcode", None) or 0) & 0xFF


def _cause(error: Any) -> str:
    """A word or two for the log: the code, and no text that could name a host or a value."""
    original = _original(error)
    state = getattr(original, "sqlstate", None)
    name = getattr(original, "sqlite_errorname", None) or type(original).__name__
    return f"{name} {state}" if state else str(name)
