"""A database made by replayed statements equals one that Alembic has made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from service.storage import database
from service.storage.database import Database
from tests.replayed_upgrade import ReplayedUpgrade


def contents(made: Database) -> tuple[dict[str, Any], list[str]]:
    """Return the columns, indexes and keys of all tables with their rows, and the pairing."""
    with made._engine.connect() as connection:
        found = inspect(connection)
        tables = {
            name: (
                str(found.get_columns(name)),
                str(found.get_indexes(name)),
                found.get_pk_constraint(name),
                found.get_foreign_keys(name),
                found.get_unique_constraints(name),
                [tuple(row) for row in connection.execute(text(f"SELECT * FROM {name}"))],  # noqa: S608
            )
            for name in found.get_table_names()
        }
    *columns, rows = tables["pairing"]
    return tables | {"pairing": columns}, [row[0] for row in rows]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_replayed_database_equals_an_upgraded_one(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgraded: list[Connection] = []
    real: Callable[[Connection], None] = getattr(database._upgrade, "upgrade", database._upgrade)

    def counted(connection: Connection) -> None:
        upgraded.append(connection)
        real(connection)

    monkeypatch.setattr(database, "_upgrade", ReplayedUpgrade(counted))
    urls = [f"sqlite:///{tmp_path}/{number}" for number in range(3)]
    if kind == "postgresql":
        new_database = request.getfixturevalue("postgres")
        urls = [new_database() for _ in urls]
    made = [Database(url) for url in urls]
    for one in made:
        one.prepare()
    assert len(upgraded) == 1
    found = [contents(one) for one in made]
    assert found[0][0] == found[1][0] == found[2][0] and len(found[0][0]) > 10
    assert len({pairing for _, (pairing,) in found}) == 3
    made[1].prepare()  # has tables: Alembic finds nothing to do
    assert len(upgraded) == 2
    for one in made:
        one.close()
