"""Statements that are compiled once and run without SQLAlchemy's layers where that is safe.

On SQLite, SQLAlchemy spends seven times as long on a small query as SQLite itself. The statements
of the most frequent calls therefore go to the driver directly, in the session's own connection and
transaction. On PostgreSQL they run through SQLAlchemy, which also removes values from errors.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, cast

from sqlalchemy import Delete, Insert, Select, Update
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.orm import Session

_Convert = Callable[[Any], Any]
_CURSOR = "triseal_cursor"


class Prepared:
    """A statement with named parameters, whose values must be of the driver's own types.

    Rows are of the named tuple `kind` if it is given, which has a field for each column, in order;
    otherwise they have one attribute per column. ORM records of the session are neither flushed nor
    loaded. Errors of the driver reach the session's context manager, which converts them.
    """

    def __init__(
        self,
        statement: Select[*tuple[Any, ...]] | Insert | Update | Delete,
        kind: type[NamedTuple] | None = None,
    ) -> None:
        self._statement = statement
        self._kind = kind

    def all(self, session: Session, **values: Any) -> list[Any]:
        """Run the query; return its rows."""
        cursor = _cursor_of(session)
        if cursor is None:
            found = session.connection().execute(self._statement, values).all()
            return list(found) if self._kind is None else [self._kind._make(row) for row in found]
        rows = self._execute(cursor, values).fetchall()
        make, converters = self._row
        if converters:
            rows = [_converted(row, converters) for row in rows]
        return [make(row) for row in rows]

    def one_or_none(self, session: Session, **values: Any) -> Any:
        """Run a query that has at most one row; return that row, or None."""
        rows = self.all(session, **values)
        return rows[0] if rows else None

    def run(self, session: Session, **values: Any) -> None:
        """Run a statement that returns no rows."""
        cursor = _cursor_of(session)
        if cursor is None:
            session.connection().execute(self._statement, values)
        else:
            self._execute(cursor, values)

    def _execute(self, cursor: sqlite3.Cursor, values: dict[str, Any]) -> sqlite3.Cursor:
        sql, names, given = self._compiled
        return cursor.execute(sql, [values[n] if n in values else given[n] for n in names])

    @cached_property
    def _compiled(self) -> tuple[str, list[str], dict[str, Any]]:
        compiled = self._statement.compile(dialect=sqlite_dialect())
        return str(compiled), list(compiled.positiontup or ()), dict(compiled.params)

    @cached_property
    def _row(self) -> tuple[Callable[[Any], Any], dict[int, _Convert]]:
        if not isinstance(self._statement, Select):
            raise TypeError("Only a query has rows.")
        columns = list(self._statement.selected_columns)
        kind: Any = self._kind or namedtuple("Row", [str(column.key) for column in columns])
        dialect = sqlite_dialect()
        found = {i: c.type.result_processor(dialect, None) for i, c in enumerate(columns)}
        return kind._make, {i: convert for i, convert in found.items() if convert is not None}


def forget_cursor(session: Session) -> None:
    """Forget the cursor of a session whose transaction is over."""
    session.info.pop(_CURSOR, None)


def _cursor_of(session: Session) -> sqlite3.Cursor | None:
    """Return the driver's cursor in the session's transaction; None unless it is SQLite's."""
    found: sqlite3.Cursor | None = session.info.get(_CURSOR)
    if found is None:
        connection = session.connection()
        if connection.dialect.name == sqlite_dialect.name:
            found = cast("sqlite3.Cursor", connection.connection.cursor())
            session.info[_CURSOR] = found
    return found


def _converted(row: tuple[Any, ...], converters: dict[int, _Convert]) -> list[Any]:
    values = list(row)
    for i, convert in converters.items():
        values[i] = convert(values[i])
    return values
