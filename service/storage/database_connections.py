"""How the server connects to its database: SQLite in a file, or PostgreSQL.

Every wait has a limit, and no error shows what was stored: neither a statement's parameters nor
what PostgreSQL tells of the row.
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
"""How long a transaction waits for another one's end, or for a connection."""
STATEMENT_SECONDS = 30.0
CONNECTIONS = 20
"""Of one server to PostgreSQL, besides the one that listens."""

WRITES = "triseal_writes"
"""Execution option of a SQLite transaction that is going to write."""

_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "triseal",
    # A machine that vanished is noticed; these are of no effect on a Unix socket.
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
    """The address in its parts; raises StorageUnavailable for what is none of ours."""
    try:
        address = make_url(url)
        if address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        if address.drivername == "postgresql+psycopg" or (
            address.drivername == "sqlite" and address.database
        ):
            return address
    except (ArgumentError, ValueError):
        pass  # its message may quote a part of the password
    raise StorageUnavailable(
        "TRISEAL_DATABASE_URL is not the address of a PostgreSQL database: write it as "
        "postgresql+psycopg://user:password@host:5432/database, with % before the code of each "
        "special character (@ is %40)."
    )


def require_shared_database(url: str) -> None:
    """Raise StorageUnavailable unless it is the address of a PostgreSQL.

    A SQLite file serves one server, whose locks and blobs are in the same folder: another one that
    was sent there by its address would take the jobs of the first and find none of their blobs.
    """
    if address_of(url).get_backend_name() != "postgresql":
        raise StorageUnavailable(
            "TRISEAL_DATABASE_URL names a SQLite file, which only the server of its own folder can "
            "use: leave it unset and set TRISEAL_SERVER_DATA to that folder, or, for several "
            "servers, name a PostgreSQL (postgresql+psycopg://user:password@host:5432/database)."
        )


def postgresql(address: URL) -> Engine:
    """Connections are tried before they are used; what the address itself says comes first."""
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
        # "Key (…)=(…) already exists", "Failing row contains (…)": these are logged with the error.
        error, shown = context.original_exception, context.sqlalchemy_exception
        primary = getattr(getattr(error, "diag", None), "message_primary", None)
        if primary is not None:
            error.args = (primary,)
            if shown is not None:
                shown.args = (f"({type(error).__name__}) {primary}",)

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    # Of two that do this to a new file at once, one is refused without a wait.
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
    """A file of mode 0600, made where it is missing; its folder is the caller's matter.

    A transaction with the option WRITES is the only one that writes, from its beginning.
    `foreign_keys` are off for migrations: there a table may be made anew and its rows copied.
    """
    Path(str(address.database)).touch(PRIVATE_FILE)  # SQLite gives its log the same mode
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
        # sqlite3's own transactions start late; a check and the write after it need one lock.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
