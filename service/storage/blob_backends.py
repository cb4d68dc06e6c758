"""Backends that store blobs in a folder or an object store, through fsspec's file systems.

fsspec's local file system neither syncs nor replaces atomically, so FolderBackend writes and
removes files itself; an object store writes objects atomically by design. Both raise the errors of
their file system, including FileNotFoundError; service/storage/blobs.py checks all names and
converts the errors.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import fsspec  # type: ignore[import-untyped]
from fsspec.asyn import sync  # type: ignore[import-untyped]

from utils.atomic_files import PRIVATE_FILE, PRIVATE_FOLDER
from utils.marked_folder import MARK as FOLDER_MARK

SLOWEST = 1_000_000
"""Slowest transfer rate of a network store, in bytes per second, on top of its time limit."""
UNFINISHED = ".unfinished"
"""The folder of files being written or removed; no application's store has such a name."""
MARK = ".triseal-store"
"""The file or object that names the database of the blobs (service/storage/pairing.py)."""
PROBE = ".triseal-probe"
"""The object that is written and removed to test that the store can be written to."""
OTHER_NAMES = frozenset({UNFINISHED, MARK, PROBE, FOLDER_MARK, "lost+found"})
"""The names that may appear next to the applications' stores."""
LONGEST_MARK = 1000
ATTEMPTS = 20
_EMPTYINGS = 10
"""Attempts at removing a folder that has been moved away."""

_S3: Mapping[str, Any] = {
    "connect_timeout": 3.0,
    "read_timeout": 12.0,
    "max_pool_connections": 32,
    "retries": {"mode": "standard", "total_max_attempts": 4},
}
"""botocore's Config, so that an unreachable store causes an error after seconds, not minutes."""


class ObjectBackend:
    """Blobs as objects `<root>/<store>/<name>` of an fsspec file system.

    The constructor raises the errors of opening an fsspec file system: ValueError, ImportError,
    TypeError, KeyError.
    """

    errors: tuple[type[Exception], ...] = (Exception,)  # each file system has its own

    def __init__(self, url: str, scheme: str, options: Mapping[str, Any]) -> None:
        if scheme in ("", "local"):
            raise ValueError("a folder has to be given as file:///…")
        given = dict(options)
        self._s3 = scheme in ("s3", "s3a")
        timeouts = dict(_S3)
        if self._s3:
            timeouts.update(given.get("config_kwargs", {}))
            given["config_kwargs"] = timeouts
            # Read an object with one request, without asking for its size first.
            given.setdefault("max_concurrency", 1)
        # Other servers change the store, so listings must not be cached. A cached instance would
        # stay in memory, with its credentials, for the life of the process.
        given.update(use_listings_cache=False, skip_instance_cache=True)
        files, root = fsspec.url_to_fs(url, **given)
        if self._s3:
            files.retries = 2  # s3fs's own, on top of botocore's
        # The connection's time limits do not apply while a request waits for a free connection.
        self._seconds = 2 * (timeouts["connect_timeout"] + timeouts["read_timeout"])
        self._open(files, root)

    def _open(self, files: Any, root: str) -> None:
        self._files = files
        self._base = root.rstrip("/")

    def put(self, store: str, name: str, data: bytes) -> None:
        self._call("pipe_file", f"{self._base}/{store}/{name}", data, size=len(data))

    def put_file(self, store: str, name: str, path: Path) -> None:
        size = path.stat().st_size
        self._call("put_file", str(path), f"{self._base}/{store}/{name}", size=size)
        path.unlink()

    def get(self, store: str, name: str, size: int) -> bytes:
        data: bytes = self._call("cat_file", f"{self._base}/{store}/{name}", size=size)
        return data

    def size(self, store: str, name: str) -> int:
        info = self._call("info", f"{self._base}/{store}/{name}")
        if info["type"] != "file":
            raise FileNotFoundError
        return int(info["size"])

    def delete(self, store: str, names: Iterable[str]) -> None:
        for name in names:
            # One by one, since S3's bulk removal does not report failures.
            try:
                self._call("rm_file", f"{self._base}/{store}/{name}")
            except FileNotFoundError:
                self.probe()

    def delete_store(self, store: str) -> None:
        for path in self._call("find", f"{self._base}/{store}"):
            with suppress(FileNotFoundError):
                self._call("rm_file", path)

    def delete_unfinished(self, older_than: float) -> int:
        return 0

    def stores(self) -> list[str]:
        try:
            found = self._call("ls", self._base, detail=True)
        except FileNotFoundError:
            self.probe()
            return []
        return [_last(info["name"]) for info in found if info["type"] == "directory"]

    def blobs(self, store: str) -> list[tuple[str, int, float]]:
        found = self._call("find", f"{self._base}/{store}", detail=True)
        if not found:
            self.probe()
        return [
            (_last(name), int(info["size"]), self._modified(info)) for name, info in found.items()
        ]

    def read_mark(self) -> bytes | None:
        path = f"{self._base}/{MARK}"
        try:
            if self._call("info", path)["size"] > LONGEST_MARK:
                return b""  # not Triseal's
            mark: bytes = self._call("cat_file", path)
        except FileNotFoundError:
            self.probe()
            return None
        return mark

    def create_mark(self, mark: bytes) -> None:
        """Write the mark unless there is one."""
        path = f"{self._base}/{MARK}"
        try:
            self._call("pipe_file", path, mark, mode="create")
        except Exception:  # it exists, or the store does not support conditional writes
            if self.read_mark() is None:
                self._call("pipe_file", path, mark)

    def names(self) -> list[str]:
        """Return the names of all direct entries of the store, Triseal's or not."""
        try:
            found = self._call("ls", self._base, detail=False)
        except FileNotFoundError:
            self.probe()
            return []
        # An object with the name of the root itself stands for an empty folder.
        return [_last(path) for path in found if path.rstrip("/") != self._base]

    def try_write(self) -> None:
        """Write and remove a test object."""
        path = f"{self._base}/{PROBE}"
        self._call("pipe_file", path, b"probe")
        with suppress(FileNotFoundError):  # another server probes at the same time
            self._call("rm_file", path)

    def probe(self) -> None:
        if self._s3:
            self._call("info", self._base.partition("/")[0])  # FileNotFoundError: no such bucket
        else:
            with suppress(FileNotFoundError):  # the first blob creates it
                self._call("info", self._base)

    def _modified(self, info: Mapping[str, Any]) -> float:
        if "mtime" in info:
            return float(info["mtime"])
        moment = info["LastModified"] if self._s3 else self._files.modified(info["name"])
        return float(moment.timestamp())

    def _call(self, operation: str, *args: Any, size: int = 0, **options: Any) -> Any:
        if not self._files.async_impl:
            return getattr(self._files, operation)(*args, **options)
        method = getattr(self._files, f"_{operation}")
        seconds = self._seconds + size / SLOWEST
        return sync(self._files.loop, method, *args, timeout=seconds, **options)


class FolderBackend(ObjectBackend):
    """Blobs as files of mode 0600 in folders of mode 0700, synced before they become visible.

    The constructor raises ValueError for a URL that is not a folder of this machine, and OSError.
    """

    errors = (OSError,)

    def __init__(self, url: str) -> None:
        self._s3 = False
        self._root = folder_of(url)
        self._unfinished = self._root / UNFINISHED
        for folder in (self._root, self._unfinished):
            # The mode of an existing folder is left to its owner.
            folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        self._open(fsspec.filesystem("file"), str(self._root))

    def put(self, store: str, name: str, data: bytes) -> None:
        with self._new_file() as (handle, path):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
            self._settle(handle, path, store, name)

    def put_file(self, store: str, name: str, path: Path) -> None:
        with path.open("rb") as file:
            os.fchmod(file.fileno(), PRIVATE_FILE)
            try:
                self._settle(file.fileno(), path, store, name)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            with self._new_file() as (handle, copy):  # it is on another file system
                with open(handle, "wb", closefd=False) as target:
                    shutil.copyfileobj(file, target)
                self._settle(handle, copy, store, name)
        path.unlink()

    def delete(self, store: str, names: Iterable[str]) -> None:
        folder = self._root / store
        for name in names:
            (folder / name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            _sync(folder)
            with suppress(OSError):  # not empty
                folder.rmdir()
        _sync(self._root)

    def delete_store(self, store: str) -> None:
        # Moved away first, so that nothing can be added to the folder while it is emptied.
        going = self._unfinished / secrets.token_hex(16)
        with suppress(FileNotFoundError):
            (self._root / store).rename(going)
            _remove_tree(going)
            _sync(self._unfinished)
        _sync(self._root)

    def delete_unfinished(self, older_than: float) -> int:
        newest = time.time() - older_than
        removed = 0
        for path in self._unfinished.iterdir():
            with suppress(FileNotFoundError):  # finished in the meantime
                if path.stat().st_mtime > newest:
                    continue
                if path.is_dir():
                    _remove_tree(path)
                else:
                    path.unlink()
                removed += 1
        return removed

    def probe(self) -> None:
        if not os.access(self._unfinished, os.R_OK | os.W_OK | os.X_OK):
            raise OSError(errno.EROFS, "the folder is missing or cannot be written to")

    def create_mark(self, mark: bytes) -> None:
        name = self._root / MARK
        with self._new_file() as (handle, path):
            os.write(handle, mark)
            os.fsync(handle)
            try:
                name.hardlink_to(path)
            except FileExistsError:
                return
            except OSError:  # the file system has no hard links
                if not name.exists():
                    path.replace(name)
        _sync(self._root)

    def try_write(self) -> None:
        with self._new_file() as (handle, _):
            os.write(handle, bytes(4096))
            os.fsync(handle)

    @contextmanager
    def _new_file(self) -> Iterator[tuple[int, Path]]:
        path = self._unfinished / secrets.token_hex(16)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
        try:
            yield handle, path
        finally:
            os.close(handle)
            path.unlink(missing_ok=True)

    def _settle(self, handle: int, path: Path, store: str, name: str) -> None:
        """Move an open file durably to its name in a store."""
        folder = self._root / store
        for last in (*[False] * (ATTEMPTS - 1), True):
            with suppress(FileExistsError):
                folder.mkdir(mode=PRIVATE_FOLDER)
            try:
                _place(handle, path, folder / name)
                break
            except FileNotFoundError:
                if last or not path.exists():
                    raise  # else the folder was just removed with its last blob: try again
        with suppress(FileNotFoundError):
            _sync(folder)
        _sync(self._root)


def folder_of(url: str) -> Path:
    """Return the folder that a `file://` URL names; raises ValueError for any other URL."""
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError("not a folder of this machine")
    return Path(url2pathname(parts.path))


def _place(handle: int, path: Path, name: Path) -> None:
    """Move an open file to `name` and sync its content; the caller syncs the folder.

    With the link made before the sync, content and name reach the disk in one commit of the file
    system's journal. An existing file must stay intact until then, so it is replaced after the
    sync instead.
    """
    try:
        name.hardlink_to(path)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.ENOENT):
            raise
        os.fsync(handle)  # the name exists, or the file system has no hard links
        path.replace(name)
        return
    try:
        os.fsync(handle)
    except OSError:
        name.unlink(missing_ok=True)
        raise
    path.unlink()


def _last(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_tree(path: Path) -> None:
    def gone(_: Callable[..., Any], __: str, problem: Any) -> None:
        if not isinstance(problem[1], FileNotFoundError):  # removed concurrently
            raise problem[1]

    for attempt in range(_EMPTYINGS):
        try:
            shutil.rmtree(path, onerror=gone)
            return
        except OSError as error:
            # A file can still arrive by a rename that had looked up the folder before it was moved.
            if error.errno != errno.ENOTEMPTY or attempt == _EMPTYINGS - 1:
                raise
