"""On a full disk, new data is rejected, erasure and expiry work, and the cause is logged once."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from engines.interface import EVALUATION_KEY
from service.applications.applications import remove_rows
from service.storage.database import Database
from service.storage.disk_reserve import FILE as RESERVE
from service.storage.disk_reserve import DiskReserve
from service.storage.tables import ApplicationRecord, TrafficRecord
from tests.service.driver import Server, refused
from tests.service.jobs.test_waiting import until
from tests.service.small_disk import MakeDisk, SmallDisk
from tests.service.storage.test_database import application as record
from tests.service.test_life import expected
from trials.postgres import as_user, connected, new_folder
from utils.errors import DiskFull

WAIT = 30.0
Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Yield a function that starts servers on SQLite in any case, with logs on another disk."""
    running: list[Server] = []

    def begin(data: Path, **settings: object) -> Server:
        data.mkdir(exist_ok=True)
        # The log is next to the folder by default, so it gets a path outside the small disk.
        link = tmp_path / f"server{len(running)}"
        link.symlink_to(data)
        running.append(Server(link, **{"database_url": None, **settings}))
        return running[-1].wait()

    yield begin
    for one in running:
        one.stop()


def wait_until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def is_ready(server: Server) -> bool:
    return server.http.get("/health/ready").status_code == 200


def logged(server: Server, message: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
    return [line for line in lines if str(line["message"]).startswith(message)]


def test_full_disk_rejects_only_new_data_until_there_is_space(
    make_disk: MakeDisk, serve: Serve
) -> None:
    disk = make_disk()
    server = serve(disk.folder / "data", disk_reserve_megabytes=2)
    going, staying = server.filled(), server.filled()
    other = server.joined()
    disk.fill()

    assert "full" in refused(server.http.get("/health/ready"), 503, "storage-unavailable")
    assert server.http.get("/health/live").status_code == 200
    opening = server.http.post("/applications")
    assert "TRISEAL_DISK_RESERVE_MEGABYTES" in refused(opening, 507, "disk-full")
    assert opening.headers["retry-after"] == "30"
    refused(other.send(other.parties[0]), 507, "disk-full")
    assert staying.state()["state"] == "ready"

    before = set(server.blobs())
    for application in (going, other):
        answer = application.erase()
        assert answer.status_code == 204, answer.text
    assert set(server.blobs()) < before
    refused(going.erase(), 404, "unknown-application")
    wait_until(lambda: len(logged(server, "the storage fails")) == 1, "the cause is logged")

    disk.clear()
    wait_until(lambda: is_ready(server), "it is ready when there is room")
    assert (disk.folder / "data" / RESERVE).stat().st_size == 2_000_000
    assert len(logged(server, "the storage fails")) == 1
    assert len(logged(server, "the storage works again")) == 1
    assert server.joined().erase().status_code == 204
    assert staying.run().status_code == 200
    assert "Traceback" not in server.log()
    without_the_reserve_it_cannot_erase(disk, server)


def without_the_reserve_it_cannot_erase(disk: SmallDisk, server: Server) -> None:
    """The purpose of the reserve: the same scenario on the same server without it."""
    application, first = server.filled(), server.filled()
    assert first.erase().status_code == 204  # it leaves SQLite's log empty
    before = server.blobs()
    disk.fill()
    (disk.folder / "data" / RESERVE).unlink()
    disk.fill()
    refused(application.erase(), 507, "disk-full")
    assert server.blobs() == before
    disk.clear()
    assert application.erase().status_code == 204
    assert set(server.blobs()) < set(before)


def test_expired_applications_are_removed_and_free_their_space(
    make_disk: MakeDisk, serve: Serve
) -> None:
    disk = make_disk()
    hours = 6 / 3600
    server = serve(disk.folder / "data", disk_reserve_megabytes=2, application_hours=hours)
    server.filled().erase()
    for reserve in ("whole", "taken by others too"):
        expires_on_a_full_disk(disk, server, reserve)
    assert "Traceback" not in server.log()


def expires_on_a_full_disk(disk: SmallDisk, server: Server, reserve: str) -> None:
    application = server.joined()
    sent = application.send(application.parties[0], EVALUATION_KEY, payload=bytes(100_000))
    assert sent.status_code == 200
    disk.fill()
    if reserve == "taken by others too":
        (disk.folder / "data" / RESERVE).unlink()
        disk.fill()
    wait_until(lambda: server.blobs() == [], "what was sent is gone")
    assert disk.free() > 0
    disk.clear()
    wait_until(lambda: is_ready(server), "it is ready when there is room")
    path = f"/applications/{application.client_id}"
    refused(server.http.get(path, headers=application.auth()), 410, "application-expired")


def test_result_that_cannot_be_stored_is_computed_again(make_disk: MakeDisk, serve: Serve) -> None:
    disk = make_disk()
    server = serve(disk.folder / "data", disk_reserve_megabytes=2)
    order = b"sleep 2"
    application = server.filled(order)
    application.queue()
    until(application, "running")
    disk.fill()
    (disk.folder / "data" / RESERVE).unlink()
    disk.fill()
    wait_until(lambda: logged(server, "the storage fails") != [], "the result has no room")
    disk.clear()
    until(application, "done")
    assert application.output().content == expected(application, order)
    assert "Traceback" not in server.log()


def test_exhausted_inodes_count_as_a_full_disk(make_disk: MakeDisk, serve: Serve) -> None:
    disk = make_disk(options="size=64m,nr_inodes=200")
    server = serve(disk.folder / "data", disk_reserve_megabytes=2)
    application = server.filled()
    disk.fill_inodes()
    assert disk.free() > 4_000_000
    refused(server.http.post("/applications"), 507, "disk-full")
    refused(server.http.get("/health/ready"), 503, "storage-unavailable")
    assert application.erase().status_code == 204
    disk.clear()
    assert is_ready(server)


def test_full_disk_of_the_blobs_rejects_uploads_and_allows_erasing(
    make_disk: MakeDisk, serve: Serve, tmp_path: Path
) -> None:
    disk = make_disk()
    blobs = disk.folder / "blobs"
    (tmp_path / "own").mkdir()
    server = serve(tmp_path / "own", blob_url=blobs.as_uri(), disk_reserve_megabytes=2)
    application, other = server.filled(), server.joined()
    disk.fill()
    refused(server.http.get("/health/ready"), 503, "storage-unavailable")
    refused(other.send(other.parties[0]), 507, "disk-full")
    assert application.erase().status_code == 204
    assert [path for path in blobs.glob("*/*") if ".unfinished" not in path.parts] == []
    disk.clear()
    assert is_ready(server)


def test_a_server_starts_on_a_full_disk_and_erases(make_disk: MakeDisk, serve: Serve) -> None:
    disk = make_disk()
    first = serve(disk.folder / "data", disk_reserve_megabytes=2)
    application = first.filled()
    first.kill()
    left_over = disk.folder / "data" / "incoming" / ("0" * 32)
    left_over.write_bytes(bytes(10))
    disk.fill()
    second = serve(disk.folder / "data", disk_reserve_megabytes=2)
    assert not left_over.exists()
    refused(second.http.get("/health/ready"), 503, "storage-unavailable")
    application.server = second
    assert application.erase().status_code == 204
    assert second.blobs() == []


def test_unwritable_log_does_not_stop_the_server(tmp_path: Path) -> None:
    (tmp_path / "data.log").symlink_to("/dev/full")
    server = Server(tmp_path / "data", database_url=None)
    try:
        server.wait()
        application = server.filled()
        assert application.run().status_code == 200
        refused(server.http.get(f"/applications/{'0' * 32}"), 404, "unknown-application")
        assert application.erase().status_code == 204
        assert server.alive
    finally:
        server.stop()


# ---- the reserve by itself


def test_reserve_is_released_once_and_restored_later(
    make_disk: MakeDisk,
) -> None:
    disk = make_disk(options="size=16m")
    reserve = DiskReserve(disk.folder, 4_000_000)
    reserve.require(1_000_000)
    assert disk.free() < 16 * 1024 * 1024 - 4_000_000
    with pytest.raises(DiskFull):
        reserve.require(10_000_000)
    assert reserve.release()
    assert not reserve.release()
    disk.fill()
    assert not reserve.restore()
    with pytest.raises(DiskFull):
        reserve.require()
    assert [path.name for path in disk.folder.iterdir()] == ["filler"], "nothing half made"
    disk.clear()
    reserve.require()
    assert (disk.folder / RESERVE).stat().st_blocks * 512 >= 4_000_000


def test_a_reserve_of_another_size_is_replaced(tmp_path: Path) -> None:
    DiskReserve(tmp_path, 1_000_000).require()
    (tmp_path / f".{RESERVE}.0123").write_bytes(b"cut off")
    other = DiskReserve(tmp_path, 2_000_000)
    other.clear_unfinished()
    other.require()
    assert [(p.name, p.stat().st_size) for p in tmp_path.iterdir()] == [(RESERVE, 2_000_000)]


# ---- PostgreSQL's own disk


def test_postgresql_on_a_full_disk_reports_it_and_still_erases(
    postgres: Callable[[], str],
) -> None:
    server = getattr(postgres, "__self__", None)
    if server is None:
        pytest.skip("the disk of a PostgreSQL that is not ours cannot be filled")
    user, start = as_user()
    base = new_folder(user, start)
    disk = SmallDisk(base / "disk")
    space = disk.folder / "space"
    space.mkdir(mode=0o700)
    for path in (disk.folder, space):
        shutil.chown(path, user)
    url = postgres()
    name = url.rpartition("/")[2]
    told: list[str] = []
    try:
        with connected(server._admin) as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{space}'")
            connection.execute(f"ALTER DATABASE {name} SET TABLESPACE {name}")
        database = Database(url, lambda fault, _: told.append(fault.code))
        database.prepare()
        with database.write() as session:
            session.add(record())
        disk.fill()
        large = {"at": 1.0, "sender": "bank", "what": "w", "size": 1, "body": os.urandom(100_000)}
        with pytest.raises(DiskFull), database.write() as session:
            session.add_all(
                TrafficRecord(client_id="a" * 32, number=number, **large) for number in range(100)
            )
        assert told == ["disk-full"]
        with database.write() as session:
            remove_rows(session, ["a" * 32])
        with database.read() as session:
            assert session.scalars(select(ApplicationRecord)).all() == []
        disk.clear()
        database.try_write()
        database.close()
    finally:
        with connected(server._admin) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            connection.execute(f"DROP TABLESPACE IF EXISTS {name}")
        disk.unmount()
        shutil.rmtree(base, ignore_errors=True)
