"""Blobs in a folder and on a real S3 server: complete or missing, but never wrong."""

from __future__ import annotations

import hashlib
import logging
import pickle
import secrets
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import fsspec
import pytest

from service.storage.blobs import BlobPlace, Blobs
from service.storage.incoming import Incoming
from settings import ROOT
from trials.object_store import SECRET, ObjectStore, ObjectStores
from utils.errors import StorageUnavailable, StoredDataDamaged
from utils.ports import free_port

ABSENT = "0" * 64


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module", params=["folder", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BlobPlace:
    if request.param == "s3":
        stores: ObjectStores = request.getfixturevalue("object_stores")
        return BlobPlace(*stores())
    if request.param == "memory":  # stands for all other file systems of fsspec
        return BlobPlace("memory://blobs")
    return BlobPlace((tmp_path_factory.mktemp("place") / "100 % blobs").as_uri())


@pytest.fixture(scope="module")
def blobs(place: BlobPlace) -> Blobs:
    return place.open()


@pytest.fixture
def store() -> str:
    return secrets.token_hex(16)


def stage(folder: Path, data: bytes) -> Path:
    """Create a file like that of an upload."""
    path = Incoming(folder / "incoming").new()
    path.write_bytes(data)
    return path


def overwrite(place: BlobPlace, store: str, name: str, data: bytes) -> None:
    """Change a blob as someone with access to the store could do."""
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
def test_written_blob_is_read_back(blobs: Blobs, store: str, data: bytes) -> None:
    name = blobs.write(store, data)
    assert name == sha256_of(data)
    assert blobs.exists(store, name)
    assert blobs.read(store, name) == data
    assert [(found, size) for found, size, _ in blobs.blobs_of(store)] == [(name, len(data))]


def test_kept_file_becomes_the_blob(blobs: Blobs, store: str, tmp_path: Path) -> None:
    data = secrets.token_bytes(100_000)
    for _ in range(2):  # the second replaces the first
        path = stage(tmp_path, data)
        blobs.keep(path, store, sha256_of(data))
        assert not path.exists()
        assert blobs.read(store, sha256_of(data)) == data
    [(_, size, modified)] = blobs.blobs_of(store)
    assert size == len(data)
    assert abs(modified - time.time()) < 3600, "seconds since 1970"


def test_removed_blobs_and_stores_are_gone(blobs: Blobs, store: str) -> None:
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
def test_damaged_blob_is_never_returned(
    place: BlobPlace, blobs: Blobs, store: str, damage: str
) -> None:
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


def test_changes_by_another_server_are_visible_at_once(
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


def test_same_content_is_written_and_read_concurrently(blobs: Blobs, store: str) -> None:
    data = secrets.token_bytes(300_000)
    name = blobs.write(store, data)

    def work(_: int) -> bool:
        return blobs.write(store, data) == name and blobs.read(store, name) == data

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))
    assert len(list(blobs.blobs_of(store))) == 1


# ---- the address


def test_blob_place_is_picklable_and_hides_its_options() -> None:
    place = BlobPlace("s3://bucket/prefix", {"key": "k", "secret": SECRET})
    assert SECRET not in repr(place) and SECRET not in str(place)
    there = pickle.loads(pickle.dumps(place))  # noqa: S301
    assert there == place and there.options["secret"] == SECRET
    assert hash(there) == hash(place)


def test_blob_place_opens_in_another_process(tmp_path: Path) -> None:
    """And s3fs, which takes a second to import, only if it is needed."""
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
def test_unusable_address_is_refused(url: str, options: dict[str, Any]) -> None:
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
    """Yield an address that accepts connections but never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("how", ["nothing listens", "nothing is answered", "no bucket"])
def test_unresponsive_object_store_raises_storage_unavailable(
    how: str,
    object_store: ObjectStore,
    silent_port: int,
    tmp_path: Path,
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
    path = stage(tmp_path, b"x")
    for attempt in attempts_on(BlobPlace(url, options).open(), path):
        with pytest.raises(StorageUnavailable) as caught:
            attempt()
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert path.exists(), "what could not be kept is still there"
    assert SECRET not in caplog.text
