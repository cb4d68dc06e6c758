"""The state machine and the storage by themselves, with a clock of their own."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines.interface import Slot
from service.answers import Opened
from service.applications import Applications, Upload
from service.storage import Storage
from service.upkeep import ORPHAN_SECONDS, TOMBSTONE_SECONDS, recover, sweep
from tests.service.stand_in import public_model
from utils.errors import (
    AlreadyRunning,
    AlreadySent,
    ApplicationExpired,
    ForeignMessage,
    TrisealError,
    UnknownApplication,
)

PUBLIC = public_model()
HOUR = 3600.0


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    opened = Storage(tmp_path / "data")
    yield opened
    opened.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def applications(storage: Storage, clock: Clock) -> Applications:
    return Applications(storage, PUBLIC, hours=1, maximum=10, clock=clock)


def fill(applications: Applications, storage: Storage, slot: Slot, client_id: str) -> None:
    blob = storage.write_blob(slot.party.encode())
    applications.accept(client_id, slot, Upload(blob, 5, "0" * 64))


def ready(applications: Applications, storage: Storage) -> tuple[Opened, str]:
    opened = applications.open()
    party, code = next(iter(opened.join_codes.items()))
    token = applications.join(opened.client_id, party, code)
    for slot in PUBLIC.slots:
        fill(applications, storage, slot, opened.client_id)
    return opened, token


def test_of_racing_runs_one_wins(applications: Applications, storage: Storage) -> None:
    opened, token = ready(applications, storage)
    barrier = threading.Barrier(8)

    def begin(_: int) -> bool:
        barrier.wait()
        try:
            return isinstance(applications.begin_run(opened.client_id, token, "decide"), dict)
        except AlreadyRunning:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1


def test_of_racing_joins_one_wins(applications: Applications) -> None:
    opened = applications.open()
    party, code = next(iter(opened.join_codes.items()))
    barrier = threading.Barrier(8)

    def join(_: int) -> bool:
        barrier.wait()
        try:
            return bool(applications.join(opened.client_id, party, code))
        except TrisealError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(join, range(8))) == 1


def test_an_upload_that_a_run_has_overtaken_is_not_taken(
    applications: Applications, storage: Storage
) -> None:
    opened, token = ready(applications, storage)
    slot = applications.admit(opened.client_id, token, *_first_slot())
    before = applications.begin_run(opened.client_id, token, "decide")
    with pytest.raises(AlreadyRunning):
        fill(applications, storage, slot, opened.client_id)
    applications.fail_run(opened.client_id, "decide", "failed")
    assert applications.begin_run(opened.client_id, token, "decide") == before
    applications.finish_run(opened.client_id, "decide", 0.5, b"result")
    with pytest.raises(AlreadySent):
        fill(applications, storage, slot, opened.client_id)


def test_recover_frees_cut_off_runs(applications: Applications, storage: Storage) -> None:
    opened, token = ready(applications, storage)
    applications.begin_run(opened.client_id, token, "decide")
    with pytest.raises(AlreadyRunning):
        applications.begin_run(opened.client_id, token, "decide")
    recover(storage)
    messages = applications.begin_run(opened.client_id, token, "decide")
    assert isinstance(messages, dict)
    assert {path.read_bytes().decode() for path in messages.values()} == set(
        PUBLIC.schema_.party_names
    )


def test_sweep_erases_what_is_over_and_leaves_a_tombstone(
    applications: Applications, storage: Storage, clock: Clock, tmp_path: Path
) -> None:
    over, token = ready(applications, storage)
    applications.begin_run(over.client_id, token, "decide")
    applications.finish_run(over.client_id, "decide", 0.5, b"result")
    clock.now += HOUR / 2
    later, _ = ready(applications, storage)
    files = len(list((tmp_path / "data" / "uploads").iterdir()))
    assert sweep(storage, clock()) == []
    clock.now += HOUR / 2
    with pytest.raises(ApplicationExpired):
        applications.state(over.client_id)
    assert sweep(storage, clock()) == [over.client_id]
    left = len(list((tmp_path / "data" / "uploads").iterdir()))
    assert left == files - len(PUBLIC.slots) - 1
    assert applications.state(later.client_id).state == "ready"
    with pytest.raises(ApplicationExpired):
        applications.state(over.client_id)
    sweep(storage, clock() + TOMBSTONE_SECONDS)
    with pytest.raises(UnknownApplication):
        applications.state(over.client_id)


def test_orphans_go_when_they_are_old_enough(storage: Storage) -> None:
    path = storage.new_blob()
    path.write_bytes(b"no row")
    assert storage.remove_orphans(ORPHAN_SECONDS) == 0
    assert path.exists()
    assert storage.remove_orphans(0) == 1
    assert not path.exists()


def test_an_application_of_another_model_is_not_run(
    applications: Applications, storage: Storage, clock: Clock
) -> None:
    opened, token = ready(applications, storage)
    newer = PUBLIC.model_copy(update={"model_version": "stand-in-2"})
    redeployed = Applications(storage, newer, hours=1, maximum=10, clock=clock)
    with pytest.raises(ForeignMessage, match="another model"):
        redeployed.begin_run(opened.client_id, token, "decide")
    with pytest.raises(ForeignMessage, match="another model"):
        redeployed.admit(opened.client_id, token, *_first_slot())


def test_a_result_without_an_application_is_dropped(
    applications: Applications, storage: Storage, tmp_path: Path
) -> None:
    opened, token = ready(applications, storage)
    applications.begin_run(opened.client_id, token, "decide")
    applications.erase(opened.client_id, token)
    with pytest.raises(UnknownApplication):
        applications.finish_run(opened.client_id, "decide", 0.5, b"result")
    assert list((tmp_path / "data" / "uploads").iterdir()) == []


def test_one_server_holds_the_folder(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(TrisealError, match="Another server uses"):
        Storage(tmp_path / "data")
    storage.close()
    again = Storage(tmp_path / "data")
    again.close()


def test_a_database_of_another_format_is_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    (folder / "uploads").mkdir(parents=True)
    (folder / "uploads" / "left").write_bytes(b"of an application that is gone")
    with sqlite3.connect(folder / "applications.sqlite3") as old:
        old.execute("CREATE TABLE applications (client_id TEXT PRIMARY KEY, created FLOAT)")
        old.execute("INSERT INTO applications VALUES ('secret-of-old', 1.0)")
    old.close()
    for _ in range(2):  # and the second time it is one of this format
        storage = Storage(folder)
        recover(storage)
        applications = Applications(storage, PUBLIC, hours=1, maximum=10)
        before = applications.open().client_id
        storage.close()
    storage = Storage(folder)
    assert Applications(storage, PUBLIC, hours=1, maximum=10).state(before).state == "open"
    storage.close()
    assert list((folder / "uploads").iterdir()) == []
    assert b"secret-of-old" not in (folder / "applications.sqlite3").read_bytes()


def _first_slot() -> tuple[str, str]:
    slot = PUBLIC.slots[0]
    return slot.party, slot.file_name
