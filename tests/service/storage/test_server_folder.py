"""A server changes no folder that may be foreign, and starts completely or not at all."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.garbage_collector import recover
from service.storage.storage import Storage
from tests.service.driver import Server
from tests.service.small_disk import MakeDisk
from tests.service.storages import open_storage
from utils.errors import (
    DataFolderInUse,
    FolderNotOurs,
    StorageUnavailable,
    StoredDataDamaged,
    TrisealError,
)
from utils.marked_folder import MARK


def content(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Return the modes of all entries of a folder, and the contents of its files."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.lstat().st_mode),
            path.read_bytes() if path.is_file() else None,
        )
        for path in (folder, *folder.rglob("*"))
    }


def refused(
    folder: Path, kind: type[TrisealError], untouched: Path | None = None, **change: Any
) -> str:
    """Return the message with which a server refuses to start, without changing anything."""
    before = content(untouched or folder)
    with pytest.raises(kind) as caught:
        open_storage(folder, **change)
    assert content(untouched or folder) == before
    return caught.value.message


def somebodys(folder: Path) -> Path:
    for name in ("uploads/photo.jpg", "incoming/letter", "blobs/" + "0" * 32 + "/own"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
    folder.chmod(0o755)
    return folder


# ---- folders of others


def test_foreign_folder_is_left_unchanged(tmp_path: Path) -> None:
    folder = somebodys(tmp_path / "mine")
    message = refused(folder, FolderNotOurs)
    assert "TRISEAL_SERVER_DATA" in message and "nothing in it was changed" in message


def test_server_process_leaves_a_foreign_folder_unchanged(tmp_path: Path) -> None:
    folder = somebodys(tmp_path / "mine")
    before = content(folder)
    server = Server(folder)
    assert server.join(30) != 0
    assert "TRISEAL_SERVER_DATA" in server.log()
    assert content(folder) == before


@pytest.mark.parametrize(
    "files",
    [
        ["lock", "incoming/" + "0" * 32, "notes.txt"],
        ["lock", "incoming/letter"],
        ["lock", "incoming/" + "0" * 32, "blobs/report.pdf"],
        ["incoming/" + "0" * 32],
        ["lock", "incoming/" + "0" * 32, "uploads/photo.jpg"],
        ["lock", "applications.sqlite3", "incoming/" + "0" * 32],
    ],
    ids=["another file", "another upload", "another blob", "no lock", "uploads", "no database"],
)
def test_folder_that_only_resembles_a_servers_is_refused(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / "like" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "like" / name).write_text("" if name == "lock" else "mine")
    refused(tmp_path / "like", FolderNotOurs)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "like"
    (folder / "uploads").mkdir(parents=True)
    (folder / "lock").touch()
    with sqlite3.connect(folder / "applications.sqlite3") as theirs:
        theirs.execute("CREATE TABLE applications (id INTEGER PRIMARY KEY, cv TEXT)")
    theirs.close()
    refused(folder, FolderNotOurs)


def test_foreign_blob_folder_is_left_unchanged(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir(mode=0o755)
    (photos / "one.jpg").write_text("mine")
    message = refused(tmp_path / "data", FolderNotOurs, photos, blob_url=photos.as_uri())
    assert "TRISEAL_BLOB_URL" in message


@pytest.mark.parametrize("part", ["incoming", "blobs"])
def test_link_to_a_foreign_folder_is_refused(tmp_path: Path, part: str) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    (theirs / "letter").write_text("mine")
    open_storage(tmp_path / "data").close()
    shutil.rmtree(tmp_path / "data" / part)
    (tmp_path / "data" / part).symlink_to(theirs)
    refused(tmp_path / "data", FolderNotOurs, untouched=theirs)


def test_foreign_files_added_later_are_kept(tmp_path: Path) -> None:
    storage = open_storage(tmp_path / "data")
    for name in ("uploads/photo", "incoming/letter", "incoming/folder/letter"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text("mine")
    (tmp_path / "data" / "incoming" / ("0" * 32)).write_text("cut off while it arrived")
    storage.close()
    storage = open_storage(tmp_path / "data")
    recover(storage)
    storage.close()
    assert (tmp_path / "data" / "uploads" / "photo").exists()
    left = sorted(path.name for path in (tmp_path / "data" / "incoming").iterdir())
    assert left == [MARK, "folder", "letter"]


# ---- what cannot be used


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("a file", FolderNotOurs),
        ("below a file", StorageUnavailable),
        ("not writable", StorageUnavailable),
        ("full", StorageUnavailable),
        ("the database is a folder", StorageUnavailable),
        ("the database is damaged", StoredDataDamaged),
        ("the database is of a later version", StorageUnavailable),
        ("in use", DataFolderInUse),
    ],
)
def test_unusable_folder_is_reported(
    tmp_path: Path, make_disk: MakeDisk, what: str, kind: type[TrisealError]
) -> None:
    folder = tmp_path / "data"
    holder: Storage | None = None
    if what in ("a file", "below a file"):
        folder.write_text("mine")
        folder = folder if what == "a file" else folder / "data"
    elif what in ("not writable", "full"):
        disk = make_disk()
        folder = disk.folder / "data"
        disk.read_only() if what == "not writable" else disk.fill()
    else:
        holder = open_storage(folder)
        if what != "in use":
            holder.close()
        database = folder / "applications.sqlite3"
        if what == "the database is a folder":
            database.unlink()
            database.mkdir()
        if what == "the database is damaged":
            database.write_bytes(b"this is not a database at all. " * 100)
        if what == "the database is of a later version":
            with sqlite3.connect(database) as later:
                later.execute("UPDATE alembic_version SET version_num = '9999'")
            later.close()
    with pytest.raises(kind) as caught:
        open_storage(folder)
    assert "Errno" not in caught.value.message
    assert "TRISEAL_SERVER_DATA" in caught.value.message
    if what in ("a file", "below a file"):
        assert (tmp_path / "data").read_text() == "mine"
    if holder is not None and what == "in use":
        with holder.read() as session:
            assert session.execute(text("SELECT 1")).scalar() == 1
        holder.close()
