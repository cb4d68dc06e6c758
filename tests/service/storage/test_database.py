"""The database on SQLite and on a real PostgreSQL: migrations, transactions, erasure."""

from __future__ import annotations

import secrets
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.applications.applications import remove_rows
from service.storage.database import Database
from service.storage.migrations import configuration
from service.storage.tables import (
    ApplicationRecord,
    PartyRecord,
    Record,
    TrafficRecord,
    UploadRecord,
)
from settings import ROOT
from trials.postgres import connected
from utils.errors import StorageUnavailable

WAIT = 20.0


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'applications.sqlite3'}"
    return str(request.getfixturevalue("postgres")())


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    opened.prepare()
    yield opened
    opened.close()


def application(client_id: str = "a" * 32, relay_key: str | None = "0" * 64) -> ApplicationRecord:
    return ApplicationRecord(
        client_id=client_id,
        store=secrets.token_hex(16),
        relay_key=relay_key,
        model_version="v",
        created=0.5,
        expires=1e9 + 0.125,
        readers=["applicant", "bank"],
    )


def asked(session: Session) -> int:
    return session.scalars(select(ApplicationRecord.asked)).one()


def ask_once_more(session: Session) -> None:
    session.execute(update(ApplicationRecord).values(asked=ApplicationRecord.asked + 1))


# ---- tables and migrations


def test_migrations_create_the_declared_tables(database: Database, url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Record.metadata)
        constraints = inspect(connection).get_foreign_keys("uploads")
        unique = inspect(connection).get_unique_constraints("applications")
    engine.dispose()
    assert differences == []
    assert [(c["name"], c["options"]) for c in constraints] == [
        ("fk_uploads_client_id", {"ondelete": "CASCADE"})
    ]
    assert [c["name"] for c in unique] == ["uq_applications_store"]


def test_migrations_can_be_reverted_and_reapplied(database: Database, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        command.downgrade(configuration(connection), "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    engine.dispose()
    database.prepare()
    with database.write() as session:
        session.add(application())
    database.prepare()  # current tables are left unchanged
    with database.read() as session:
        kept = session.scalars(select(ApplicationRecord)).one()
        assert (kept.readers, kept.expires) == (["applicant", "bank"], 1e9 + 0.125)


def test_migration_preserves_existing_rows(database: Database, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        command.downgrade(configuration(connection), "0001")
    engine.dispose()
    with database.write() as session:
        columns = "client_id, store, relay_key, model_version, created, expires, readers"
        values = f"'{'a' * 32}', 's', '{'0' * 64}', 'v', 0.5, 1e9, '[]', 0, 0"
        session.execute(
            text(f"INSERT INTO applications ({columns}, received, asked) VALUES ({values})")  # noqa: S608
        )
        party = f"'{'a' * 32}', 'bank', ''"
        session.execute(
            text(f"INSERT INTO parties (client_id, party, code_digest) VALUES ({party})")  # noqa: S608
        )
    database.prepare()
    with database.write() as session:
        kept = session.scalars(select(ApplicationRecord)).one()
        assert (kept.relay_key, [row.party for row in kept.parties]) == ("0" * 64, ["bank"])
        assert kept.witnesses == {}
    with database.write() as session:
        remove_rows(session, ["a" * 32])
        assert session.execute(select(PartyRecord.party)).all() == [], "they still go together"
        session.add(application(relay_key=None))


def test_two_servers_prepare_concurrently(url: str) -> None:
    script = (
        "import os, sys, alembic.command, service.storage.migrations\n"
        "from service.storage.database import Database\n"
        "read, write = os.pipe()\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0:\n"
        "        os.close(write); os.read(read, 1)\n"  # until both are there
        "        Database(sys.argv[1]).prepare(); os._exit(0)\n"
        "os.close(write)\n"
        "sys.exit(any(os.wait()[1] for _ in range(2)))\n"
    )
    arguments = (sys.executable, "-c", script, url)
    done = subprocess.run(arguments, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opened = Database(url)
    with opened.write() as session:
        session.add(application())
    opened.close()


def test_database_of_a_later_version_is_refused_unchanged(database: Database) -> None:
    with database.write() as session:
        session.add(application())
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageUnavailable, match="another version"):
        database.prepare()
    with database.read() as session:
        assert asked(session) == 0


def test_foreign_tables_are_refused_unchanged(postgres: Callable[[], str]) -> None:
    url = postgres()
    with connected(url) as connection:
        connection.execute("CREATE TABLE uploads (theirs text)")
        opened = Database(url)
        with pytest.raises(StorageUnavailable, match="of Triseal's own"):
            opened.prepare()
        opened.close()
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert found.fetchall() == [("uploads",)], "nothing is half made"


def test_database_with_foreign_tables_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "applications.sqlite3"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("CREATE TABLE applications (theirs text)")
    before = path.read_bytes()
    opened = Database(f"sqlite:///{path}")
    with pytest.raises(StorageUnavailable, match="did not create"):
        opened.prepare()
    opened.close()
    with closing(sqlite3.connect(path)) as theirs:
        assert theirs.execute("SELECT name FROM sqlite_master").fetchall() == [("applications",)]
    assert len(path.read_bytes()) == len(before), "nothing is half made"


# ---- transactions


def test_reader_sees_a_consistent_state(database: Database) -> None:
    with database.write() as session:
        session.add(application())
    with database.read() as reader:
        assert asked(reader) == 0
        with database.write() as writer:
            ask_once_more(writer)
        assert asked(reader) == 0
    with database.read() as reader:
        assert asked(reader) == 1


def test_write_transaction_is_atomic(database: Database) -> None:
    with database.write() as session:
        session.add(application())
    with pytest.raises(ZeroDivisionError), database.write() as session:
        ask_once_more(session)
        session.flush()
        raise ZeroDivisionError
    with pytest.raises(IntegrityError), database.write() as session:
        ask_once_more(session)
        upload = {"party": "bank", "file_name": "f", "sha256": "0" * 64, "size": 1}
        session.add(UploadRecord(client_id="b" * 32, **upload))
    with database.read() as session:
        assert asked(session) == 0


def test_writers_that_lock_a_row_are_serialised(database: Database) -> None:
    with database.write() as session:
        session.add(application())

    def work() -> None:
        for _ in range(10):
            with database.write() as session:
                locked = session.get(ApplicationRecord, "a" * 32, with_for_update=True)
                assert locked is not None
                locked.asked = locked.asked + 1

    run_together(*[work] * 6)
    with database.read() as session:
        assert asked(session) == 60, "no change was lost"


def test_named_lock_is_held_until_the_transaction_ends(database: Database) -> None:
    inside: list[str] = []

    def work(name: str) -> None:
        for _ in range(10):
            with database.write() as session:
                database.lock(session, 7)
                inside.append(name)
                time.sleep(0.001)
                inside.append(name)

    run_together(*[lambda name=name: work(name) for name in "abc"])
    assert len(inside) == 60
    assert inside[::2] == inside[1::2], "nobody came in between"


def run_together(*work: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def guarded(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_errors_contain_no_stored_values(database: Database) -> None:
    secret = secrets.token_hex(16)
    with pytest.raises(IntegrityError) as caught, database.write() as session:
        session.add_all([application(), application("b" * 32)])
        session.execute(update(ApplicationRecord).values(store=secret))
    shown = "".join(traceback.format_exception(caught.value))
    assert "applications" in shown, "it says which table"
    assert secret not in shown


# ---- erasure


def test_database_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'applications.sqlite3'}")
    database.prepare()
    with database.write() as session:
        session.add(application())
        session.flush()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 3, "the file, its log and the log's index"
    assert set(modes.values()) == {0o600}
    database.close()


def test_erasing_an_application_deletes_its_rows(database: Database) -> None:
    mark = secrets.token_bytes(32)
    with database.write() as session:
        session.add(application())
        session.flush()
        fields = {"at": 1.0, "sender": "bank", "what": "w", "size": 1, "body": mark * 40}
        session.add_all(
            TrafficRecord(client_id="a" * 32, number=number, **fields) for number in range(40)
        )
    with database.write() as session:
        session.delete(session.get_one(ApplicationRecord, "a" * 32))
    with database.read() as session:
        assert session.scalars(select(TrafficRecord)).all() == []
    database.scrub()
    if not database.shared:
        folder = Path(str(database._address.database)).parent
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert "applications.sqlite3" in files
        assert not any(mark in content for content in files.values())
        assert not any(b"a" * 32 in content for content in files.values())
    database.probe()
