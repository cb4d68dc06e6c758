"""Atomic writes of private files."""

import os
import stat
import threading

import pytest

from utils import atomic_files
from utils.atomic_files import private_folder, write_atomic, write_new


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_written_file_is_read_back_and_nothing_else_is_left(tmp_path):
    data = os.urandom(1 << 16)
    write_atomic(tmp_path / "key", data)
    assert (tmp_path / "key").read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_file_is_private_for_any_umask(tmp_path, open_umask):
    write_atomic(tmp_path / "key", b"secret")
    assert mode_of(tmp_path / "key") == 0o600


def test_a_file_can_be_made_public(tmp_path):
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "schema", b"{}", mode=0o644)
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "schema") == 0o644


def test_shorter_file_replaces_longer_one_completely(tmp_path):
    write_atomic(tmp_path / "f", b"a" * 1000)
    write_atomic(tmp_path / "f", b"b")
    assert (tmp_path / "f").read_bytes() == b"b"


def test_writing_over_a_public_file_makes_it_private(tmp_path, open_umask):
    (tmp_path / "key").write_bytes(b"old")
    (tmp_path / "key").chmod(0o666)
    write_atomic(tmp_path / "key", b"new")
    assert mode_of(tmp_path / "key") == 0o600


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
def test_a_failure_at_any_step_leaves_the_old_file_and_no_part(tmp_path, monkeypatch, step):
    write_atomic(tmp_path / "f", b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(atomic_files.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_new_file_never_replaces_one(tmp_path, open_umask):
    assert write_new(tmp_path / "key", b"first") is True
    assert write_new(tmp_path / "key", b"second") is False
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    assert write_new(tmp_path / "broken", b"third") is False
    assert (tmp_path / "key").read_bytes() == b"first" and mode_of(tmp_path / "key") == 0o600
    assert {p.name for p in tmp_path.iterdir()} == {"key", "broken"}


@pytest.mark.parametrize("step", ["fsync", "link", "fchmod"])
def test_a_failed_new_file_leaves_nothing(tmp_path, monkeypatch, step):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(atomic_files.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_new(tmp_path / "f", b"new")
    assert list(tmp_path.iterdir()) == []


def test_concurrent_reader_sees_old_or_new_file(tmp_path):
    path = tmp_path / "f"
    contents = {bytes([i]) * 50_000 for i in range(2)}
    write_atomic(path, min(contents))
    done = threading.Event()
    seen = set()

    def read():
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(50):
        for data in contents:
            write_atomic(path, data)
    done.set()
    reader.join()
    assert seen <= contents
    assert seen


def test_missing_folder_raises_and_leaves_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "no" / "f", b"x")
    assert list(tmp_path.iterdir()) == []


def test_private_folder_restricts_an_existing_folder(tmp_path, open_umask):
    (tmp_path / "keys").mkdir(mode=0o777)
    assert mode_of(private_folder(tmp_path / "keys")) == 0o700
    assert mode_of(private_folder(tmp_path / "a" / "b")) == 0o700
    (tmp_path / "keys" / "f").write_bytes(b"kept")
    assert (private_folder(tmp_path / "keys") / "f").read_bytes() == b"kept"
