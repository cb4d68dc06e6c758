"""Prepared statements return the rows that SQLAlchemy returns, in the session's transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from service.storage.prepared import Prepared
from service.storage.storage import Storage
from service.storage.tables import ApplicationRecord, TombstoneRecord, UploadRecord, table_of
from tests.service.played import Played
from tests.service.storages import DATABASES, database_settings, settings_of
from utils.errors import StorageUnavailable


@pytest.fixture(params=DATABASES)
def played(request: pytest.FixtureRequest, tmp_path: Path) -> Played:
    settings = settings_of(tmp_path / "server", **database_settings(request, request.param))
    return Played(Storage(settings), settings)


def test_prepared_rows_equal_sqlalchemys(played: Played) -> None:
    client_id = played.ready().client_id
    for kind in (ApplicationRecord, UploadRecord):
        table = table_of(kind)
        query = select(table).where(table.c.client_id == bindparam("client_id")).limit(9)
        with played.storage.read() as session:
            rows = Prepared(query).all(session, client_id=client_id)
            expected = session.execute(query, {"client_id": client_id}).all()
        assert rows and [row._asdict() for row in rows] == [row._asdict() for row in expected]


def test_prepared_write_is_part_of_the_transaction(played: Played) -> None:
    tombstones = table_of(TombstoneRecord)
    insert = Prepared(tombstones.insert())
    query = Prepared(select(tombstones).where(tombstones.c.client_id == bindparam("client_id")))

    def write(client_id: str, fails: bool) -> None:
        with played.storage.write() as session:
            insert.run(session, client_id=client_id, expired=1.5)
            assert query.one_or_none(session, client_id=client_id).expired == 1.5
            if fails:
                raise KeyError

    write("kept", fails=False)
    with pytest.raises(KeyError):
        write("undone", fails=True)
    with played.storage.read() as session:
        assert query.one_or_none(session, client_id="kept") is not None
        assert query.one_or_none(session, client_id="undone") is None


def test_driver_error_becomes_storage_unavailable(played: Played) -> None:
    class Failing(Prepared):
        def _execute(self, *_: object) -> sqlite3.Cursor:
            raise sqlite3.OperationalError("disk I/O error")

    query = Failing(select(table_of(TombstoneRecord)))
    if played.storage.shared:  # PostgreSQL's statements go through SQLAlchemy
        with played.storage.read() as session:
            assert query.all(session) == []
        return
    with pytest.raises(StorageUnavailable), played.storage.read() as session:
        query.all(session)
