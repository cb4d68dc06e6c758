"""Database outages, invalid databases, and notifications among servers on one database."""

from __future__ import annotations

import logging
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from service.storage.database import Database
from service.storage.tables import ApplicationRecord
from tests.service.storage.test_database import application, ask_once_more, asked, run_together
from trials.postgres import Postgres, PostgresMissing
from utils.errors import StorageUnavailable, StoredDataDamaged
from utils.ports import free_port

WAIT = 20.0
PASSWORD = "p%40ss/w:rd-5e1d"  # noqa: S105


@pytest.fixture
def shared(postgres: Callable[[], str]) -> Iterator[Database]:
    opened = Database(postgres())
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """Yield a PostgreSQL server that no other test uses, so that it can be stopped."""
    try:
        server = Postgres()
    except PostgresMissing as missing:
        pytest.skip(str(missing))
    yield server
    server.end()


def test_deadlock_error_advises_a_retry(shared: Database) -> None:
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
    assert "conflicted with this one" in other and "try again" in other


def test_database_calls_recover_after_a_restart(
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
        with pytest.raises(StorageUnavailable, match="does not respond"):
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
def test_lost_connection_raises_storage_unavailable_and_rolls_back(
    shared: Database, when: str
) -> None:
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


def test_unreachable_database_raises_storage_unavailable(caplog: pytest.LogCaptureFixture) -> None:
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
def test_invalid_database_address_is_refused(url: str) -> None:
    with pytest.raises(StorageUnavailable, match="TRISEAL_DATABASE_URL") as caught:
        Database(url)
    assert_no_password("".join(traceback.format_exception(caught.value)))


def test_wrong_password_is_not_disclosed_in_the_error(
    postgres: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    before, _, after = postgres().rpartition("@")
    user = before.removeprefix("postgresql+psycopg://").partition(":")[0]
    if user == before:
        pytest.skip("the given database takes no password")
    database = Database(f"postgresql://{user}:{PASSWORD}@{after}")
    with pytest.raises(StorageUnavailable) as caught:
        database.prepare()
    assert_no_password("".join(traceback.format_exception(caught.value)) + caplog.text)
    database.close()


def test_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "applications.sqlite3"
    path.write_bytes(b"this is not a database at all. " * 100)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(StoredDataDamaged):
        database.prepare()
    database.close()


def listening(database: Database) -> queue.Queue[str | None]:
    """Return the announcements that a database's running listener receives."""
    heard: queue.Queue[str | None] = queue.Queue()
    database.listen(heard.put)
    assert heard.get(timeout=WAIT) is None
    return heard


def test_announcements_reach_every_server(shared: Database) -> None:
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


def test_listener_survives_a_lost_connection_and_a_callback_error(shared: Database) -> None:
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


def test_sqlite_sends_no_announcements(tmp_path: Path) -> None:
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
