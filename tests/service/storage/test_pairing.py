"""A database has one server (PostgreSQL: several) and one blob store, under any of their names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from service.garbage_collector import remove_orphans
from service.storage.storage import Storage
from settings import Settings
from tests.forked import in_child
from tests.service.driver import Server
from tests.service.small_disk import NOT_PERMITTED
from tests.service.storage.test_database import application
from tests.service.storages import open_storage, settings_of
from trials.object_store import ObjectStore
from utils.errors import DataFolderInUse, FolderNotOurs, StorageUnavailable, TrisealError
from utils.marked_folder import MARK


def opened_elsewhere(settings: Settings) -> str:
    """Return what happens when another process opens the same storage."""

    def opened() -> str:
        try:
            open_storage(settings.server_data)
        except TrisealError as error:
            return error.code
        return "opened"

    return str(in_child(opened))


# ---- one server for a SQLite file


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///{path}",
        "sqlite+pysqlite:///{path}",
        "sqlite:////proc/self/cwd/{path}",
        "sqlite:///file:{path}?uri=true",
        "mysql://root@127.0.0.1/triseal",
    ],
)
def test_database_url_must_name_postgresql(tmp_path: Path, url: str) -> None:
    first = open_storage(tmp_path / "a")
    address = url.format(path=tmp_path / "a" / "applications.sqlite3")
    with pytest.raises(StorageUnavailable, match="TRISEAL_DATABASE_URL"):
        open_storage(tmp_path / "b", database_url=address)
    assert not (tmp_path / "b").exists(), "nothing is half made"
    first.probe()
    first.close()


def test_second_server_does_not_claim_jobs_of_the_first(tmp_path: Path) -> None:
    first = Server(tmp_path / "a", database_url=None).wait()
    second = Server(tmp_path / "b", database_url=f"sqlite:///{tmp_path}/a/applications.sqlite3")
    try:
        waiting = first.filled()
        assert second.join(30) != 0
        assert "only the server of its own folder can use" in second.log()
        assert waiting.run().status_code == 200
    finally:
        first.stop()
        second.stop()


def linked(first: Path, second: Path) -> None:
    second.symlink_to(first)


def made_like(first: Path, second: Path) -> None:
    """Make an empty folder with the mark of a server's."""
    second.mkdir()
    shutil.copy(first / MARK, second / MARK)


def through_a_link(first: Path, second: Path) -> None:
    made_like(first, second)
    (second / "applications.sqlite3").symlink_to(first / "applications.sqlite3")


def hard_linked(first: Path, second: Path) -> None:
    made_like(first, second)
    (second / "applications.sqlite3").hardlink_to(first / "applications.sqlite3")


def bound(first: Path, second: Path) -> None:
    made_like(first, second)
    (second / "applications.sqlite3").touch()
    command = ("mount", "--bind", *(str(f / "applications.sqlite3") for f in (first, second)))
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip(NOT_PERMITTED)


def same_arriving(first: Path, second: Path) -> None:
    made_like(first, second)
    (second / "incoming").symlink_to(first / "incoming")


@pytest.mark.parametrize("make", [linked, through_a_link, hard_linked, bound, same_arriving])
def test_sqlite_file_in_use_is_detected_by_any_path(
    tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    first = open_storage(tmp_path / "a")
    first.close()  # its tables are now in the file, not only in its log
    first = open_storage(tmp_path / "a")
    arriving = first.incoming.new()
    arriving.write_bytes(b"arriving")
    make(tmp_path / "a", tmp_path / "b")
    try:
        assert opened_elsewhere(settings_of(tmp_path / "b")) == "data-folder-in-use"
        assert arriving.exists()
        first.probe()
        with first.write() as session:
            session.add(application())
    finally:
        first.close()
        if make is bound:
            subprocess.run(("umount", str(tmp_path / "b" / "applications.sqlite3")), check=True)


def test_sqlite_works_beside_the_file_lock(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "a")
    script = (
        "import sqlite3, sys\n"
        "with sqlite3.connect(sys.argv[1]) as c: c.execute('DELETE FROM tombstones')\n"
    )
    path = tmp_path / "a" / "applications.sqlite3"
    subprocess.run((sys.executable, "-c", script, str(path)), check=True)
    with storage.write() as session:
        session.add(application())
    storage.close()


# ---- one store of blobs for a database


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, object]:
    """Return the settings of a store that no server uses yet."""
    if request.param == "folder":
        return {"blob_url": (tmp_path / "blobs").as_uri()}
    found: ObjectStore = request.getfixturevalue("object_store")
    return {"blob_url": found.url, "blob_options": found.options}


def with_an_application(storage: Storage) -> str:
    """Open an application with a key in the blob store; return the name of its store."""
    record = application()
    store = record.store
    record.relay_key = storage.blobs.write(store, b"a key")
    with storage.write() as session:
        session.add(record)
    return store


def unmark(settings: dict[str, object]) -> None:
    """Remove the marks from a store."""
    files, root = fsspec.url_to_fs(settings["blob_url"], **settings.get("blob_options", {}))
    files.rm_file(f"{root}/.triseal-store")
    if (Path(root) / ".triseal-folder").exists():
        (Path(root) / ".triseal-folder").unlink()


def test_a_store_of_another_database_is_refused(tmp_path: Path, store: dict[str, object]) -> None:
    first = open_storage(tmp_path / "a", **store)
    kept = with_an_application(first)
    with pytest.raises(DataFolderInUse, match="belongs to another database"):
        open_storage(tmp_path / "b", **store)
    assert list(first.blobs.stores()) == [kept]
    first.close()
    with pytest.raises(DataFolderInUse):
        open_storage(tmp_path / "b", **store)
    open_storage(tmp_path / "a", **store).close()


def test_unmarked_store_is_refused_by_its_content(tmp_path: Path, store: dict[str, object]) -> None:
    first = open_storage(tmp_path / "a", **store)
    kept = with_an_application(first)
    first.close()
    unmark(store)
    with pytest.raises(FolderNotOurs, match="not in this database"):
        open_storage(tmp_path / "b", **store)
    first = open_storage(tmp_path / "a", **store)
    remove_orphans(first, older_than=-1.0)
    assert list(first.blobs.stores()) == [kept]
    first.close()
    with pytest.raises(DataFolderInUse):
        open_storage(tmp_path / "b", **store)


def test_wrong_database_would_remove_blobs_without_the_mark(
    tmp_path: Path, store: dict[str, object]
) -> None:
    """The loss that the mark prevents: blobs without rows are orphans."""
    first = open_storage(tmp_path / "a", **store)
    with_an_application(first)
    second = open_storage(tmp_path / "b")
    second.blobs, second._pair = first.blobs, first._pair
    remove_orphans(second, older_than=-1.0)
    assert list(first.blobs.stores()) == []
    first.close()
    second.close()


def test_a_prefix_with_foreign_objects_is_refused(
    tmp_path: Path, object_store: ObjectStore
) -> None:
    files, root = fsspec.url_to_fs(object_store.url, **object_store.options)
    foreign = (f"{root}/report.pdf", f"{root}/{'0' * 32}/own")
    for path in foreign:
        files.pipe_file(path, b"mine")
    store = {"blob_url": object_store.url, "blob_options": object_store.options}
    with pytest.raises(FolderNotOurs, match=r"report\.pdf"):
        open_storage(tmp_path / "a", **store)
    assert sorted(files.find(root)) == sorted(foreign)


def test_store_exchanged_at_runtime_is_detected(tmp_path: Path, store: dict[str, object]) -> None:
    storage = open_storage(tmp_path / "a", **store)
    kept = with_an_application(storage)
    storage.blobs.write("0" * 32, b"an orphan, or what another database names")
    unmark(store)
    with pytest.raises(StorageUnavailable, match="does not belong to this database"):
        storage.probe()
    with pytest.raises(StorageUnavailable):
        remove_orphans(storage, older_than=-1.0)
    assert set(storage.blobs.stores()) == {kept, "0" * 32}
    storage.close()


def test_a_copy_of_a_sqlite_file_does_not_share_the_store(tmp_path: Path) -> None:
    store = {"blob_url": (tmp_path / "blobs").as_uri()}
    open_storage(tmp_path / "a", **store).close()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    first = open_storage(tmp_path / "a", **store)
    with pytest.raises(DataFolderInUse, match="blobs"):
        open_storage(tmp_path / "b", **store)
    first.close()
    open_storage(tmp_path / "b", **store).close()


def test_database_with_blobs_elsewhere_is_refused(tmp_path: Path) -> None:
    first = open_storage(tmp_path / "a")
    with_an_application(first)
    first.close()
    with pytest.raises(StorageUnavailable, match="in another store"):
        open_storage(tmp_path / "a", blob_url=(tmp_path / "other").as_uri())
    open_storage(tmp_path / "a").close()


# ---- several servers of one PostgreSQL


def test_servers_of_one_postgresql_share_one_store(
    tmp_path: Path, store: dict[str, object], postgres: Callable[[], str]
) -> None:
    shared = {"database_url": postgres(), **store}
    first, second = open_storage(tmp_path / "a", **shared), open_storage(tmp_path / "b", **shared)
    kept = with_an_application(first)
    assert list(second.blobs.stores()) == [kept]
    for storage in (first, second):
        storage.probe()
        storage.close()


def test_servers_of_one_postgresql_need_the_same_store(
    tmp_path: Path, postgres: Callable[[], str]
) -> None:
    shared = {"database_url": postgres()}
    first = open_storage(tmp_path / "a", **shared)
    with pytest.raises(StorageUnavailable, match="same TRISEAL_BLOB_URL"):
        open_storage(tmp_path / "b", **shared)
    first.probe()
    first.close()
    open_storage(tmp_path / "a", **shared).close()


def test_store_of_one_postgresql_database_is_refused_by_another(
    tmp_path: Path, store: dict[str, object], postgres: Callable[[], str]
) -> None:
    first = open_storage(tmp_path / "a", database_url=postgres(), **store)
    for other in ({"database_url": postgres()}, {}):
        with pytest.raises(DataFolderInUse):
            open_storage(tmp_path / f"b{len(other)}", **other, **store)
    first.close()
