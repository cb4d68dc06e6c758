"""The tables of an empty database, made by the statements of an earlier upgrade.

Alembic takes longer for them than most tests of the storage take for everything else. The first
empty database of each kind is upgraded by Alembic, and so is every database that has tables.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event, inspect, update

from service.storage.tables import PairingRecord, table_of

Upgrade = Callable[[Connection], None]
_READS = ("SELECT", "PRAGMA")


class ReplayedUpgrade:
    """Takes the place of `service.storage.database._upgrade`, the argument; thread-safe."""

    def __init__(self, upgrade: Upgrade) -> None:
        self.upgrade = upgrade
        self._statements: dict[str, list[tuple[str, Any]]] = {}
        self._lock = threading.Lock()

    def __call__(self, connection: Connection) -> None:
        if inspect(connection).get_table_names():
            self.upgrade(connection)
            return
        known = self._statements.get(connection.dialect.name)
        if known is None:
            with self._lock:
                self._record(connection)
            return
        for statement, parameters in known:
            connection.exec_driver_sql(statement, parameters or None)
        table = table_of(PairingRecord)  # random in every database
        connection.execute(update(table).values(database=secrets.token_hex(16)))

    def _record(self, connection: Connection) -> None:
        statements: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if not statement.lstrip().upper().startswith(_READS):
                statements.append((statement, parameters))

        event.listen(connection, "before_cursor_execute", note)
        try:
            self.upgrade(connection)
        finally:
            event.remove(connection, "before_cursor_execute", note)
        self._statements[connection.dialect.name] = statements
