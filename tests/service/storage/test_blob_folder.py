"""Blobs in a folder: only valid names become paths, and crashes and races leave no partial blob."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.storage.blobs import MAXIMUM_BYTES, BlobPlace, Blobs
from service.storage.incoming import Incoming
from tests.service.storage.test_blobs import (
    ABSENT,
    ROOT,
    attempts_on,
    damaged_read,
    sha256_of,
    stage,
)
from utils.errors import StorageUnavailable, StoredDataDamaged


@pytest.fixture
def store() -> str:
    return secrets.token_hex(16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a store that no other test uses."""
    return tmp_path / "blobs"


@pytest.fixture
def local(folder: Path) -> Blobs:
    return BlobPlace(folder.as_uri()).open()


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("store", "name"),
    [
        ("../" + "0" * 29, ABSENT),
        ("0" * 31, ABSENT),
        ("A" * 32, ABSENT),
        ("0" * 32 + "\n", ABSENT),
        ("", ABSENT),
        ("٠" * 32, ABSENT),
        ("0" * 32, "../../" + "0" * 58),
        ("0" * 32, "0" * 63),
        ("0" * 32, ""),
        ("0" * 32, "F" * 64),
    ],
)
def test_only_valid_names_become_paths(
    local: Blobs, folder: Path, tmp_path: Path, store: str, name: str
) -> None:
    path = stage(tmp_path, b"x")
    attempts: list[Callable[[], Any]] = [
        lambda: local.keep(path, store, name),
        lambda: local.read(store, name),
        lambda: local.exists(store, name),
        lambda: local.remove(store, [ABSENT, name]),
    ]
    if name == ABSENT:
        attempts += [
            lambda: local.write(store, b"x"),
            lambda: local.remove_store(store),
            lambda: list(local.blobs_of(store)),
        ]
    for attempt in attempts:
        with pytest.raises(StoredDataDamaged):
            attempt()
    assert path.exists()
    assert files_in(folder) == []


def test_missing_folder_raises_storage_unavailable(
    local: Blobs, folder: Path, store: str, tmp_path: Path
) -> None:
    name = local.write(store, b"there")
    folder.rename(folder.with_name("elsewhere"))
    path = stage(tmp_path, b"x")
    for attempt in attempts_on(local, path):
        with pytest.raises(StorageUnavailable):
            attempt()
    assert not folder.exists(), "nothing is written beside the mount"
    assert path.exists()
    folder.with_name("elsewhere").rename(folder)
    assert local.read(store, name) == b"there"
    local.probe()


def run_in_folder(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Start a process with `blobs`, `incoming` and `store` that may write 64 KiB to a file."""
    before = (
        "import os, resource, signal, sys, pathlib\n"
        "from service.storage.blobs import BlobPlace\n"
        "from service.storage.incoming import Incoming\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "blobs = BlobPlace((folder / 'blobs').as_uri()).open()\n"
        "incoming = Incoming(folder / 'incoming')\n"
        "store = '0' * 32\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    )
    arguments = (sys.executable, "-c", before + script, str(folder))
    return subprocess.run(arguments, cwd=ROOT, check=False, capture_output=True, text=True)


def test_failed_write_leaves_no_file(tmp_path: Path) -> None:
    done = run_in_folder(tmp_path, "blobs.write(store, bytes(100_000))")
    assert "StorageUnavailable" in done.stderr
    assert files_in(tmp_path) == []


def test_process_killed_during_a_write_leaves_no_blob(tmp_path: Path) -> None:
    """The kernel kills the process in the middle of the second half."""
    deadly = "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    done = run_in_folder(tmp_path, deadly + "blobs.write(store, bytes(100_000))")
    assert done.returncode == -signal.SIGXFSZ
    assert len(files_in(tmp_path)) == 1
    blobs = BlobPlace((tmp_path / "blobs").as_uri()).open()
    assert list(blobs.stores()) == []
    assert blobs.remove_unfinished(older_than=3600) == 0, "another server may be at work"
    assert blobs.remove_unfinished(older_than=0) == 1
    assert files_in(tmp_path) == []


def test_crash_before_keep_leaves_only_removable_files(tmp_path: Path) -> None:
    script = "incoming.new().write_bytes(b'arrived')\nos.kill(os.getpid(), signal.SIGKILL)"
    assert run_in_folder(tmp_path, script).returncode == -signal.SIGKILL
    [left] = files_in(tmp_path)
    assert left.parent == tmp_path / "incoming" and left.read_bytes() == b"arrived"
    assert list(BlobPlace((tmp_path / "blobs").as_uri()).open().stores()) == []
    incoming = Incoming(tmp_path / "incoming")
    assert incoming.clear(older_than=3600) == 0
    assert incoming.clear() == 1
    assert files_in(tmp_path) == []


def test_interrupted_removal_is_completed_later(local: Blobs, folder: Path) -> None:
    going = folder / ".unfinished" / "0123"
    going.mkdir()
    (going / ABSENT).write_bytes(b"not yet removed")
    assert list(local.stores()) == []
    assert local.remove_unfinished(older_than=0) == 1
    assert files_in(folder) == []


def test_blobs_are_readable_by_their_owner_only(folder: Path, store: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        local = BlobPlace(folder.as_uri()).open()
        local.write(store, b"written")
        path = stage(tmp_path, b"kept")
        path.chmod(0o666)
        local.keep(path, store, sha256_of(b"kept"))
    finally:
        os.umask(before)
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (folder, *folder.rglob("*"))}
    assert {mode for p, mode in modes.items() if p.is_dir()} == {0o700}
    assert [mode for p, mode in modes.items() if p.is_file()] == [0o600, 0o600]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_file_from_another_file_system_is_kept(local: Blobs, folder: Path, store: str) -> None:
    memory = Path("/dev/shm")  # noqa: S108
    if not memory.is_dir() or memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no second file system here (/dev/shm)")
    data = secrets.token_bytes(200_000)
    with tempfile.TemporaryDirectory(dir=memory) as elsewhere:
        path = Incoming(Path(elsewhere)).new()
        path.write_bytes(data)
        local.keep(path, store, sha256_of(data))
        assert not path.exists()
    assert local.read(store, sha256_of(data)) == data
    assert [p.stat().st_mode & 0o777 for p in files_in(folder)] == [0o600]


def test_oversized_blob_is_not_read_into_memory(local: Blobs, folder: Path, store: str) -> None:
    name = local.write(store, b"small")
    os.truncate(folder / store / name, MAXIMUM_BYTES + 1)  # a sparse file without blocks
    assert damaged_read(local, store, name)


def test_concurrent_writes_and_removals_are_safe(local: Blobs, folder: Path, store: str) -> None:
    name = sha256_of(b"again and again")

    def write(_: int) -> None:
        assert local.write(store, b"again and again") == name

    def remove(turn: int) -> None:
        if turn % 2:
            local.remove_store(store)
        else:
            local.remove(store, [name])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda turn: (write, remove)[turn % 2](turn // 2), range(120)))
    assert len(files_in(folder)) <= 1, "nothing unfinished is left"
    write(0)
    assert local.read(store, name) == b"again and again"


STORES = st.sampled_from(["a" * 32, "b" * 32])
CONTENTS = st.binary(max_size=3)


class FolderAgainstDict(RuleBasedStateMachine):
    """After any sequence of operations, a folder of blobs behaves like a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.blobs = BlobPlace((Path(self._folder.name) / "blobs").as_uri()).open()
        self.incoming = Incoming(Path(self._folder.name) / "incoming")
        self.model: dict[tuple[str, str], bytes] = {}

    @rule(store=STORES, data=CONTENTS)
    def write(self, store: str, data: bytes) -> None:
        self.model[store, self.blobs.write(store, data)] = data

    @rule(store=STORES, data=CONTENTS)
    def keep(self, store: str, data: bytes) -> None:
        path = self.incoming.new()
        path.write_bytes(data)
        self.blobs.keep(path, store, sha256_of(data))
        self.model[store, sha256_of(data)] = data

    @rule(store=STORES, some=st.lists(CONTENTS, max_size=3))
    def remove(self, store: str, some: list[bytes]) -> None:
        self.blobs.remove(store, [sha256_of(data) for data in some])
        for data in some:
            self.model.pop((store, sha256_of(data)), None)

    @rule(store=STORES)
    def remove_store(self, store: str) -> None:
        self.blobs.remove_store(store)
        self.model = {key: data for key, data in self.model.items() if key[0] != store}

    @rule(store=STORES, data=CONTENTS)
    def look(self, store: str, data: bytes) -> None:
        name = sha256_of(data)
        assert self.blobs.exists(store, name) == ((store, name) in self.model)
        if (store, name) in self.model:
            assert self.blobs.read(store, name) == data
        else:
            assert damaged_read(self.blobs, store, name)

    @rule()
    def sweep(self) -> None:
        assert self.blobs.remove_unfinished(older_than=0) == 0
        assert self.incoming.clear() == 0

    @invariant()
    def the_same_is_there(self) -> None:
        stores = list(self.blobs.stores())
        assert stores == sorted({store for store, _ in self.model})
        found = {(s, name): size for s in stores for name, size, _ in self.blobs.blobs_of(s)}
        assert found == {key: len(data) for key, data in self.model.items()}

    def teardown(self) -> None:
        self._folder.cleanup()


TestFolderAgainstDict = FolderAgainstDict.TestCase
TestFolderAgainstDict.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
