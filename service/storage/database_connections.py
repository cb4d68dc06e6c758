"""Connections to the server's database: SQLite in a file, or PostgreSQL.

Every wait has a time limit, and no error message contains stored data: neither the parameters of a
statement nor the row values that PostgreSQL reports.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import ConnectionPoolEntry

from utils.atomic_files import PRIVATE_FILE
from utils.errors import StorageUnavailable

BUSY_SECONDS = 10.0
"""Longest wait of a transaction for another one to end, or for a connection."""
STATEMENT_SECONDS = 30.0
CONNECTIONS = 20
"""Connections of one server to PostgreSQL, besides the one that listens."""

WRITES = "triseal_writes"
"""Execution option of a SQLite transaction that will write."""

_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "triseal",
    # To notice a machine that has vanished; they have no effect on a Unix socket.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_LIMITS = (
    f"-c statement_timeout={STATEMENT_SECONDS:g}s"
    f" -c lock_timeout={BUSY_SECONDS:g}s"
    " -c idle_in_transaction_session_timeout=60s"
)


def address_of(url: str) -> URL:
    """Parse the database's URL; raises StorageUnavailable if it cannot be used."""
    try:
        address = make_url(url)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        if address.drivername == "postgresql+psycopg" or (
            address.drivername == "sqlite" and address.database
        ):
            return address
    except (ArgumentError, ValueError):
        pass  # the message may quote a part of the password
    raise StorageUnavailable(
        "TRISEAL_DATABASE_URL is not the address of a PostgreSQL database: write it as "
        "postgresql+psycopg://user:password@host:5432/database, with special characters "
        "percent-encoded (@ is %40)."
    )


def require_shared_database(url: str) -> None:
    """Raise StorageUnavailable unless `url` names a PostgreSQL database.

    A SQLite file belongs to one server, whose locks and blobs are in the same folder. Another
    server that used the file by its URL would claim the first one's jobs without finding the blobs.
    """
    if address_of(url).get_backend_name() != "postgresql":
        raise StorageUnavailable(
            "TRISEAL_DATABASE_URL names a SQLite file, which only the server of its own folder can "
            "use: leave it unset and set TRISEAL_SERVER_DATA to that folder or, for several "
            "servers, name a PostgreSQL database "
            "(postgresql+psycopg://user:password@host:5432/database)."
        )


def postgresql(address: URL) -> Engine:
    """Return an engine for PostgreSQL that tests each connection before use.

    Options in the address take precedence over the defaults.
    """
    connect = {name: value for name, value in _CONNECT.items() if name not in address.query}
    connect["options"] = f"{_LIMITS} {address.query.get('options', '')}".strip()
    engine = create_engine(
        address,
        connect_args=connect,
        hide_parameters=True,
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        pool_size=CONNECTIONS // 2,
        max_overflow=CONNECTIONS - CONNECTIONS // 2,
        pool_timeout=BUSY_SECONDS,
    )

    @event.listens_for(engine, "handle_error")
    def without_detail(context: ExceptionContext) -> None:
        # Details such as "Key (…)=(…) already exists" would be logged with the error.
        error, shown = context.original_exception, context.sqlalchemy_exception
        primary = getattr(getattr(error, "diag", None), "message_primary", None)
        if primary is not None:
            error.args = (primary,)
            if shown is not None:
                shown.args = (f"({type(error).__name__}) {primary}",)

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    # If two connections do this to a new file at once, SQLite rejects one without waiting.
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
        time.sleep(0.01)


def sqlite(address: URL, *, foreign_keys: bool = True) -> Engine:
    """Return an engine for a SQLite file, created with mode 0600 if missing; its folder must exist.

    A transaction with the option WRITES holds the write lock from its beginning. `foreign_keys`
    are off for migrations, which may recreate a table and copy its rows.
    """
    Path(str(address.database)).touch(PRIVATE_FILE)  # SQLite creates its log with the same mode
    engine = create_engine(
        address,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: ConnectionPoolEntry) -> None:
        _write_ahead(connection)
        for pragma in (
            "synchronous=NORMAL",
            f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
            "secure_delete=ON",  # erased rows are overwritten
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # sqlite3 begins transactions lazily; a check and the write after it need one lock.
        writes = connection.get_execution_options().get(WRITES, False)
        driver = connection.connection
        driver.cursor().execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
