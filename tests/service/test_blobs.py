"""Blobs in a folder and in a real S3-protocol server: whole or not there, and never wrong."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import secrets
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import fsspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.blobs import MAXIMUM_BYTES, BlobPlace, Blobs
from service.incoming import Incoming
from tests.service.driver import free_port
from tests.service.object_store import SECRET, ObjectStore, ObjectStores
from utils.errors import StorageUnavailable, StoredDataDamaged

ROOT = Path(__file__).resolve().parents[2]
ABSENT = "0" * 64


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module", params=["folder", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BlobPlace:
    if request.param == "s3":
        stores: ObjectStores = request.getfixturevalue("object_stores")
        return BlobPlace(*stores())
    if request.param == "memory":  # stands for whatever else fsspec has
        return BlobPlace("memory://blobs")
    return BlobPlace((tmp_path_factory.mktemp("place") / "100 % blobs").as_uri())


@pytest.fixture(scope="module")
def blobs(place: BlobPlace) -> Blobs:
    return place.open()


@pytest.fixture
def store() -> str:
    return secrets.token_hex(16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that no other test uses."""
    return tmp_path / "blobs"


@pytest.fixture
def local(folder: Path) -> Blobs:
    return BlobPlace(folder.as_uri()).open()


@pytest.fixture
def staged(tmp_path: Path) -> Callable[[bytes], Path]:
    """A file as an upload leaves it."""
    incoming = Incoming(tmp_path / "incoming")

    def stage(data: bytes) -> Path:
        path = incoming.new()
        path.write_bytes(data)
        return path

    return stage


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def overwrite(place: BlobPlace, store: str, name: str, data: bytes) -> None:
    """What somebody with access to the place could do behind our back."""
    if place.url.startswith("file:"):
        path = Path(url2pathname(place.url.removeprefix("file://"))) / store / name
        assert path.exists()
        path.write_bytes(data)
    else:
        files, root = fsspec.url_to_fs(place.url, **place.options)
        files.pipe_file(f"{root}/{store}/{name}", data)


def damaged_read(blobs: Blobs, store: str, name: str) -> bool:
    try:
        blobs.read(store, name)
    except StoredDataDamaged as error:
        return store not in error.message and name not in error.message
    return False


# ---- what any place does


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 4000], ids=len)
def test_what_is_written_is_read_back(blobs: Blobs, store: str, data: bytes) -> None:
    name = blobs.write(store, data)
    assert name == sha256_of(data)
    assert blobs.exists(store, name)
    assert blobs.read(store, name) == data
    assert [(found, size) for found, size, _ in blobs.blobs_of(store)] == [(name, len(data))]


def test_a_staged_file_becomes_the_blob_and_is_gone(
    blobs: Blobs, store: str, staged: Callable[[bytes], Path]
) -> None:
    data = secrets.token_bytes(100_000)
    for _ in range(2):  # the second replaces the first
        path = staged(data)
        blobs.keep(path, store, sha256_of(data))
        assert not path.exists()
        assert blobs.read(store, sha256_of(data)) == data
    [(_, size, modified)] = blobs.blobs_of(store)
    assert size == len(data)
    assert abs(modified - time.time()) < 3600, "seconds since 1970"


def test_removing(blobs: Blobs, store: str) -> None:
    names = [blobs.write(store, bytes([i])) for i in range(3)]
    other = secrets.token_hex(16)
    kept = blobs.write(other, b"kept")
    blobs.remove(store, [names[0], ABSENT])
    assert not blobs.exists(store, names[0])
    assert damaged_read(blobs, store, names[0])
    assert {name for name, *_ in blobs.blobs_of(store)} == set(names[1:])
    assert {store, other} <= set(blobs.stores())
    for _ in range(2):  # the second has nothing to do
        blobs.remove_store(store)
        assert list(blobs.blobs_of(store)) == []
        assert store not in set(blobs.stores())
    blobs.remove(store, [ABSENT])
    blobs.remove(other, [kept])
    assert other not in set(blobs.stores())


@pytest.mark.parametrize("damage", ["cut", "longer", "swapped", "emptied", "missing"])
def test_damage_is_never_read(place: BlobPlace, blobs: Blobs, store: str, damage: str) -> None:
    data, another = secrets.token_bytes(5000), secrets.token_bytes(5000)
    name = blobs.write(store, data)
    changed = {"cut": data[:-1], "longer": data + b"0", "swapped": another, "emptied": b""}
    if damage == "missing":
        blobs.remove(store, [name])
    else:
        overwrite(place, store, name, changed[damage])
    assert damaged_read(blobs, store, name)
    assert blobs.write(store, data) == name, "sent again, it is whole again"
    assert blobs.read(store, name) == data


def test_what_another_server_writes_or_removes_is_seen_at_once(
    place: BlobPlace, blobs: Blobs, store: str
) -> None:
    another = place.open()
    assert list(blobs.blobs_of(store)) == []
    name = another.write(store, b"from the other")
    assert [found for found, *_ in blobs.blobs_of(store)] == [name]
    assert store in set(blobs.stores())
    assert blobs.exists(store, name)
    another.remove_store(store)
    assert not blobs.exists(store, name)
    assert list(blobs.blobs_of(store)) == []
    assert store not in set(blobs.stores())


def test_many_write_and_read_the_same_content_at_once(blobs: Blobs, store: str) -> None:
    data = secrets.token_bytes(300_000)
    name = blobs.write(store, data)

    def work(_: int) -> bool:
        return blobs.write(store, data) == name and blobs.read(store, name) == data

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))
    assert len(list(blobs.blobs_of(store))) == 1


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
def test_nothing_but_a_name_becomes_a_path(
    local: Blobs, folder: Path, staged: Callable[[bytes], Path], store: str, name: str
) -> None:
    path = staged(b"x")
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


# ---- the address


def test_a_place_travels_to_workers_and_shows_no_options() -> None:
    place = BlobPlace("s3://bucket/prefix", {"key": "k", "secret": SECRET})
    assert SECRET not in repr(place) and SECRET not in str(place)
    there = pickle.loads(pickle.dumps(place))  # noqa: S301
    assert there == place and there.options["secret"] == SECRET
    assert hash(there) == hash(place)


def test_a_place_is_opened_in_another_process(tmp_path: Path) -> None:
    """And s3fs, which takes a second to import, only where it is needed."""
    place = BlobPlace((tmp_path / "blobs").as_uri())
    name = place.open().write("0" * 32, b"from here")
    script = (
        "import pickle, sys; place = pickle.loads(bytes.fromhex(sys.argv[1])); "
        f"print(place.open().read('{'0' * 32}', '{name}').decode(), 's3fs' in sys.modules)"
    )
    arguments = (sys.executable, "-c", script, pickle.dumps(place).hex())
    done = subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "from here False\n"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s4://bucket", {}),
        ("/var/lib/blobs", {}),
        ("local:///var/lib/blobs", {}),
        ("file://another.machine/var/blobs", {}),
        ("file:relative", {}),
        ("file:///proc/blobs", {}),
        (f"s3://name:{SECRET}@bucket", {}),
        ("s3://bucket", {"key": "k", "username": "u", "secret": SECRET}),
        ("s3://bucket", {"config_kwargs": SECRET}),
    ],
)
def test_an_address_that_cannot_be_used(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(StorageUnavailable, match="TRISEAL_BLOB_OPTIONS") as caught:
        BlobPlace(url, options).open()
    assert SECRET not in caught.value.message
    assert not Path("/var/lib/blobs").exists()


# ---- a place that does not answer


def attempts_on(blobs: Blobs, path: Path) -> list[Callable[[], Any]]:
    store = "0" * 32
    return [
        blobs.probe,
        lambda: blobs.write(store, b"x"),
        lambda: blobs.keep(path, store, ABSENT),
        lambda: blobs.read(store, ABSENT),
        lambda: blobs.exists(store, ABSENT),
        lambda: blobs.remove(store, [ABSENT]),
        lambda: blobs.remove_store(store),
        lambda: list(blobs.stores()),
        lambda: list(blobs.blobs_of(store)),
    ]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where connections are accepted and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("how", ["nothing listens", "nothing is answered", "no bucket"])
def test_an_object_store_that_does_not_answer(
    how: str,
    object_store: ObjectStore,
    silent_port: int,
    staged: Callable[[bytes], Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    quickly = {
        "config_kwargs": {
            "connect_timeout": 0.1,
            "read_timeout": 0.05,
            "retries": {"total_max_attempts": 1},
        }
    }
    port = free_port() if how == "nothing listens" else silent_port
    options = {**object_store.options, **quickly, "endpoint_url": f"http://127.0.0.1:{port}"}
    if how == "no bucket":
        options = object_store.options
    url = "s3://no-such-bucket" if how == "no bucket" else object_store.url
    path = staged(b"x")
    for attempt in attempts_on(BlobPlace(url, options).open(), path):
        with pytest.raises(StorageUnavailable) as caught:
            attempt()
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert path.exists(), "what could not be kept is still there"
    assert SECRET not in caplog.text


def test_a_folder_that_is_not_mounted(
    local: Blobs, folder: Path, store: str, staged: Callable[[bytes], Path]
) -> None:
    name = local.write(store, b"there")
    folder.rename(folder.with_name("elsewhere"))
    path = staged(b"x")
    for attempt in attempts_on(local, path):
        with pytest.raises(StorageUnavailable):
            attempt()
    assert not folder.exists(), "nothing is written beside the mount"
    assert path.exists()
    folder.with_name("elsewhere").rename(folder)
    assert local.read(store, name) == b"there"
    local.probe()


# ---- a folder: crashes, permissions, races


def run_in_folder(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """A process that finds `blobs`, `incoming` and `store`, and may write 64 KiB to a file."""
    before = (
        "import os, resource, signal, sys, pathlib\n"
        "from service.blobs import BlobPlace\n"
        "from service.incoming import Incoming\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "blobs = BlobPlace((folder / 'blobs').as_uri()).open()\n"
        "incoming = Incoming(folder / 'incoming')\n"
        "store = '0' * 32\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
    )
    arguments = (sys.executable, "-c", before + script, str(folder))
    return subprocess.run(arguments, cwd=ROOT, check=False, capture_output=True, text=True)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    done = run_in_folder(tmp_path, "blobs.write(store, bytes(100_000))")
    assert "StorageUnavailable" in done.stderr
    assert files_in(tmp_path) == []


def test_a_process_that_dies_in_a_write_leaves_no_blob(tmp_path: Path) -> None:
    """The kernel kills it in the middle of its second half."""
    deadly = "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    done = run_in_folder(tmp_path, deadly + "blobs.write(store, bytes(100_000))")
    assert done.returncode == -signal.SIGXFSZ
    assert len(files_in(tmp_path)) == 1
    blobs = BlobPlace((tmp_path / "blobs").as_uri()).open()
    assert list(blobs.stores()) == []
    assert blobs.remove_unfinished(older_than=3600) == 0, "another server may be at work"
    assert blobs.remove_unfinished(older_than=0) == 1
    assert files_in(tmp_path) == []


def test_a_crash_between_arriving_and_keeping_leaves_only_what_is_cleared(tmp_path: Path) -> None:
    script = "incoming.new().write_bytes(b'arrived')\nos.kill(os.getpid(), signal.SIGKILL)"
    assert run_in_folder(tmp_path, script).returncode == -signal.SIGKILL
    [left] = files_in(tmp_path)
    assert left.parent == tmp_path / "incoming" and left.read_bytes() == b"arrived"
    assert list(BlobPlace((tmp_path / "blobs").as_uri()).open().stores()) == []
    incoming = Incoming(tmp_path / "incoming")
    assert incoming.clear(older_than=3600) == 0
    assert incoming.clear() == 1
    assert files_in(tmp_path) == []


def test_a_removal_that_was_cut_off_is_finished_later(local: Blobs, folder: Path) -> None:
    going = folder / ".unfinished" / "0123"
    going.mkdir()
    (going / ABSENT).write_bytes(b"not yet removed")
    assert list(local.stores()) == []
    assert local.remove_unfinished(older_than=0) == 1
    assert files_in(folder) == []


def test_only_the_owner_can_read(folder: Path, store: str, staged: Callable[[bytes], Path]) -> None:
    before = os.umask(0)
    try:
        local = BlobPlace(folder.as_uri()).open()
        local.write(store, b"written")
        path = staged(b"kept")
        path.chmod(0o666)
        local.keep(path, store, sha256_of(b"kept"))
    finally:
        os.umask(before)
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (folder, *folder.rglob("*"))}
    assert {mode for p, mode in modes.items() if p.is_dir()} == {0o700}
    assert [mode for p, mode in modes.items() if p.is_file()] == [0o600, 0o600]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_of_another_file_system_is_kept_too(local: Blobs, folder: Path, store: str) -> None:
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


def test_a_blob_that_is_far_too_large_is_not_read_into_memory(
    local: Blobs, folder: Path, store: str
) -> None:
    name = local.write(store, b"small")
    os.truncate(folder / store / name, MAXIMUM_BYTES + 1)  # it has no blocks on the disk
    assert damaged_read(local, store, name)


def test_writing_while_others_remove(local: Blobs, folder: Path, store: str) -> None:
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
    """Whatever is done in whatever order, a folder of blobs does what a dictionary does."""

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
