"""The database on SQLite and on a real PostgreSQL: migrations, transactions, outages, erasure."""

from __future__ import annotations

import logging
import queue
import secrets
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.database import Database
from service.migrations import configuration
from service.records import ApplicationRecord, Record, TrafficRecord, UploadRecord
from tests.service.driver import free_port
from tests.service.postgres import Postgres, PostgresMissing, connected
from utils.errors import StorageUnavailable, StoredDataDamaged

ROOT = Path(__file__).resolve().parents[2]
WAIT = 20.0
PASSWORD = "p%40ss/w:rd-5e1d"  # noqa: S105


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'applications.sqlite3'}"
    return str(request.getfixturevalue("postgres")())


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(url)
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture
def shared(postgres: Callable[[], str]) -> Iterator[Database]:
    opened = Database(postgres())
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """A PostgreSQL that no other test uses, to be stopped."""
    try:
        server = Postgres()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    yield server
    server.end()


def application(client_id: str = "a" * 32) -> ApplicationRecord:
    return ApplicationRecord(
        client_id=client_id,
        store=secrets.token_hex(16),
        relay_key="0" * 64,
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


def test_the_migrations_make_the_tables_of_the_records(database: Database, url: str) -> None:
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


def test_down_to_nothing_and_up_again(database: Database, url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        command.downgrade(configuration(connection), "base")
    with engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    engine.dispose()
    database.prepare()
    with database.write() as session:
        session.add(application())
    database.prepare()  # what is up to date stays as it is
    with database.read() as session:
        kept = session.scalars(select(ApplicationRecord)).one()
        assert (kept.readers, kept.expires) == (["applicant", "bank"], 1e9 + 0.125)


def test_two_servers_prepare_at_once(url: str) -> None:
    script = (
        "import os, sys, alembic.command, service.migrations\n"
        "from service.database import Database\n"
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


def test_a_file_of_the_time_before_migrations_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "applications.sqlite3"
    old = sqlite3.connect(path)
    old.executescript(
        "PRAGMA user_version = 3; PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;"
        "CREATE TABLE applications (client_id TEXT PRIMARY KEY, code BLOB);"
        "CREATE TABLE sent (client_id TEXT REFERENCES applications ON DELETE CASCADE, name TEXT);"
        "INSERT INTO applications VALUES ('one', x'5e'); INSERT INTO sent VALUES ('one', 'old-');"
    )
    old.execute("INSERT INTO sent VALUES ('one', ?)", ("left-over " * 500,))
    old.commit()
    old.close()
    database = Database(f"sqlite:///{path}")
    database.prepare()
    with database.write() as session:
        session.add(application())
        tables = inspect(session.connection()).get_table_names()
    assert sorted(tables) == sorted([*Record.metadata.tables, "alembic_version"])
    database.prepare()
    with database.read() as session:
        assert asked(session) == 0, "once is enough"
    database.scrub()
    assert not any(b"left-over" in file.read_bytes() for file in tmp_path.iterdir())
    database.close()


def test_a_database_of_a_later_version_is_left_alone(database: Database) -> None:
    with database.write() as session:
        session.add(application())
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageUnavailable, match="another version"):
        database.prepare()
    with database.read() as session:
        assert asked(session) == 0


def test_tables_of_somebody_else_are_left_alone(shared: Database, postgres: Callable) -> None:
    url = postgres()
    with connected(url) as connection:
        connection.execute("CREATE TABLE uploads (theirs text)")
        opened = Database(url)
        with pytest.raises(StorageUnavailable, match="of Triseal's own"):
            opened.prepare()
        opened.close()
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert found.fetchall() == [("uploads",)], "nothing is half made"


# ---- transactions


def test_a_reader_sees_one_state(database: Database) -> None:
    with database.write() as session:
        session.add(application())
    with database.read() as reader:
        assert asked(reader) == 0
        with database.write() as writer:
            ask_once_more(writer)
        assert asked(reader) == 0
    with database.read() as reader:
        assert asked(reader) == 1


def test_a_writer_commits_wholly_or_not_at_all(database: Database) -> None:
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


def test_writers_that_lock_a_row_come_one_after_the_other(database: Database) -> None:
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


def test_a_named_lock_is_held_until_the_end(database: Database) -> None:
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


def test_a_deadlock_says_to_try_again(shared: Database) -> None:
    with shared.write() as session:
        session.add_all([application("a" * 32), application("b" * 32)])
    both = threading.Barrier(2)
    answers: list[str] = []

    def work(first: str, second: str) -> None:
        try:
            with shared.write() as session:
                session.get(ApplicationRecord, first, with_for_update=True)
                both.wait(WAIT)
                session.get(ApplicationRecord, second, with_for_update=True)
            answers.append("committed")
        except StorageUnavailable as error:
            answers.append(error.message)

    run_together(lambda: work("a" * 32, "b" * 32), lambda: work("b" * 32, "a" * 32))
    [other] = [answer for answer in answers if answer != "committed"]
    assert "in this one's way" in other and "try again" in other


# ---- an outage


def test_a_server_that_is_stopped_and_back(
    own_server: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(own_server.new_database())
    database.prepare()
    heard = listening(database)
    with database.write() as session:
        session.add(application())
    with pytest.raises(StorageUnavailable), database.write() as cut_off:
        ask_once_more(cut_off)
        own_server.stop()
    with pytest.raises(StorageUnavailable), database.read() as session:
        asked(session)
    with pytest.raises(StorageUnavailable), database.write() as session:
        session.execute(select(ApplicationRecord))
    for attempt in (database.probe, database.scrub, database.prepare):
        with pytest.raises(StorageUnavailable, match="does not answer"):
            attempt()
    own_server.start()
    database.probe()
    with database.read() as session:
        assert asked(session) == 0, "what was cut off was not committed"
    assert heard.get(timeout=WAIT) is None, "anything may have changed meanwhile"
    with database.write() as session:
        ask_once_more(session)
        database.announce(session, "a" * 32)
    assert heard.get(timeout=WAIT) == "a" * 32
    database.close()


@pytest.mark.parametrize("when", ["before a statement", "before the commit"])
def test_a_connection_that_is_lost(shared: Database, when: str) -> None:
    with shared.write() as session:
        session.add(application())
    with pytest.raises(StorageUnavailable), shared.write() as session:
        ask_once_more(session)
        end_connections(shared, "a writer")
        if when == "before a statement":
            ask_once_more(session)
    with shared.read() as session:
        assert asked(session) == 0


def end_connections(database: Database, which: str) -> None:
    own = "state = 'idle in transaction'" if which == "a writer" else "query LIKE 'LISTEN%'"
    with database.write() as session:
        ended = session.scalars(
            text(
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {own} "  # noqa: S608
                "AND datname = current_database() AND pid <> pg_backend_pid()"
            )
        ).all()
    assert ended == [True]


def test_nothing_listens_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"postgresql+psycopg://triseal:{PASSWORD}@127.0.0.1:{free_port()}/triseal"
    database = Database(url)
    heard: list[str | None] = []
    database.listen(heard.append)
    for attempt in (database.probe, database.prepare, database.scrub):
        with pytest.raises(StorageUnavailable) as caught:
            attempt()
        assert_no_password("".join(traceback.format_exception(caught.value)))
    database.close()
    assert_no_password(caplog.text + repr(vars(database)))
    assert heard == []


def assert_no_password(shown: str) -> None:
    assert PASSWORD not in shown
    assert "p@ss" not in shown and "5e1d" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "",
        "applications.sqlite3",
        "sqlite://",
        f"mysql://triseal:{PASSWORD}@127.0.0.1/triseal",
        f"postgresql+psycopg2://triseal:{PASSWORD}@127.0.0.1/triseal",
        f"postgresql+psycopg://triseal:pass:{PASSWORD}@x@127.0.0.1:port-5e1d/triseal",
    ],
)
def test_an_address_of_no_database(url: str) -> None:
    with pytest.raises(StorageUnavailable, match="TRISEAL_DATABASE_URL") as caught:
        Database(url)
    assert_no_password("".join(traceback.format_exception(caught.value)))


def test_a_wrong_password(postgres: Callable[[], str], caplog: pytest.LogCaptureFixture) -> None:
    before, _, after = postgres().rpartition("@")
    user = before.removeprefix("postgresql+psycopg://").partition(":")[0]
    if user == before:
        pytest.skip("the given database takes no password")
    database = Database(f"postgresql://{user}:{PASSWORD}@{after}")
    with pytest.raises(StorageUnavailable) as caught:
        database.prepare()
    assert_no_password("".join(traceback.format_exception(caught.value)) + caplog.text)
    database.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "applications.sqlite3"
    path.write_bytes(b"this is not a database at all. " * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StoredDataDamaged):
        database.prepare()
    database.close()


def test_what_is_stored_is_not_in_the_error(database: Database) -> None:
    secret = secrets.token_hex(16)
    with pytest.raises(IntegrityError) as caught, database.write() as session:
        session.add_all([application(), application("b" * 32)])
        session.execute(update(ApplicationRecord).values(store=secret))
    shown = "".join(traceback.format_exception(caught.value))
    assert "applications" in shown, "it says which table"
    assert secret not in shown


# ---- announcements


def listening(database: Database) -> queue.Queue[str | None]:
    """What is announced to a database's listener, which is at work."""
    heard: queue.Queue[str | None] = queue.Queue()
    database.listen(heard.put)
    assert heard.get(timeout=WAIT) is None
    return heard


def test_what_one_server_announces_every_server_hears(shared: Database) -> None:
    another = Database(shared._address.render_as_string(hide_password=False))
    queues = [listening(shared), listening(another)]
    with shared.write() as session:
        shared.announce(session, "a" * 32)
        shared.announce(session, "b" * 32)
        assert all(heard.empty() for heard in queues), "not before the commit"
    with pytest.raises(ZeroDivisionError), another.write() as session:
        another.announce(session, "c" * 32)
        raise ZeroDivisionError
    with another.write() as session:
        another.announce(session, "d" * 32)
    for heard in queues:
        assert [heard.get(timeout=WAIT) for _ in range(3)] == ["a" * 32, "b" * 32, "d" * 32]
    another.close()
    with shared.write() as session:
        shared.announce(session, "e" * 32)
    assert queues[0].get(timeout=WAIT) == "e" * 32
    assert queues[1].empty(), "it has let go"


def test_a_listener_survives_the_end_of_its_connection_and_a_fault(shared: Database) -> None:
    heard: queue.Queue[str | None] = queue.Queue()

    def changed(client_id: str | None) -> None:
        heard.put(client_id)
        raise RuntimeError("a fault of whoever is told")

    shared.listen(changed)
    assert heard.get(timeout=WAIT) is None
    end_connections(shared, "the listener")
    assert heard.get(timeout=WAIT) is None, "something may have been missed"
    with shared.write() as session:
        shared.announce(session, "a" * 32)
    assert heard.get(timeout=WAIT) == "a" * 32


def test_a_file_has_nobody_to_tell(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'applications.sqlite3'}")
    database.prepare()
    heard: list[str | None] = []
    threads = threading.active_count()
    database.listen(heard.append)
    with database.write() as session:
        database.announce(session, "a" * 32)
    database.close()
    assert (heard, threading.active_count()) == ([], threads)
    assert not database.shared


# ---- erasure


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'applications.sqlite3'}")
    database.prepare()
    with database.write() as session:
        session.add(application())
        session.flush()
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 3, "the file, its log and the log's index"
    assert set(modes.values()) == {0o600}
    database.close()


def test_erased_rows_go_with_the_application(database: Database) -> None:
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
