"""Blobs, which hold ciphertexts and keys, each named by the SHA-256 of its content.

A blob is `<store>/<sha256>` below one root: a folder (`file:///…`) or any file system that fsspec
supports, for example an S3-compatible object store (`s3://bucket/prefix`). It is written completely
or not at all. Content that is read is compared with the blob's name, so a truncated, swapped or
missing blob causes an error and never a wrong result.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from service.storage.blob_backends import OTHER_NAMES, FolderBackend, ObjectBackend, folder_of
from service.storage.health import OnFault, untold
from utils.disk_errors import is_full
from utils.errors import DiskFull, StorageUnavailable, StoredDataDamaged

MAXIMUM_BYTES = 1 << 28
"""An upper bound on the size of a blob; anything larger is not read into memory."""

_STORE = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BlobPlace:
    """The address of the blobs, which the workers get too.

    `options` are passed to fsspec's file system, for example an endpoint and its credentials; they
    are never shown.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        if "@" in urlsplit(self.url).netloc:
            raise StorageUnavailable(
                "TRISEAL_BLOB_URL contains a user name or a password; put them into "
                "TRISEAL_BLOB_OPTIONS."
            )

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that the URL names; None for any other store.

        Raises StorageUnavailable if the URL cannot be used.
        """
        if urlsplit(self.url).scheme != "file":
            return None
        with self._usable():
            return folder_of(self.url)

    def open(self, on_fault: OnFault = untold) -> Blobs:
        """Open the blobs; a missing folder is created.

        `on_fault` is called if they cannot be reached later. Raises StorageUnavailable if the URL
        cannot be used; a network store is not contacted before its first use.
        """
        scheme = urlsplit(self.url).scheme
        with self._usable():
            if scheme == "file":
                return Blobs(FolderBackend(self.url), on_fault)
            return Blobs(ObjectBackend(self.url, scheme, self.options), on_fault)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ImportError, ValueError, TypeError, KeyError) as error:
            kind = DiskFull if is_full(error) else StorageUnavailable
            raise kind(
                f"The store of ciphertexts cannot be used ({type(error).__name__}): set "
                "TRISEAL_BLOB_URL to a folder (file:///…) or to a store that fsspec supports "
                "(s3://bucket/prefix), and check TRISEAL_BLOB_OPTIONS."
            ) from error


class Blobs:
    """The blobs of all applications; thread-safe.

    `store` is the name of an application's store, 32 hexadecimal digits. All methods raise
    StorageUnavailable if the backend cannot be reached, and StoredDataDamaged for an invalid name.
    """

    def __init__(self, backend: ObjectBackend, on_fault: OnFault = untold) -> None:
        self._backend = backend
        self._on_fault = on_fault

    def keep(self, path: Path, store: str, sha256: str) -> None:
        """Move a file durably into the store as the blob `sha256`, replacing an existing one.

        On an error the file stays where it is, and no part of it becomes a blob.
        """
        _check(store, sha256)
        with self._answers():
            self._backend.put_file(store, sha256, path)

    def write(self, store: str, data: bytes) -> str:
        """Store bytes durably; return their SHA-256, the blob's name."""
        sha256 = hashlib.sha256(data).hexdigest()
        _check(store, sha256)
        with self._answers():
            self._backend.put(store, sha256, data)
        return sha256

    def read(self, store: str, sha256: str) -> bytes:
        """Return the content; raises StoredDataDamaged if it is missing or fails its checksum."""
        _check(store, sha256)
        with self._answers():
            data = self._content(store, sha256)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            raise StoredDataDamaged(
                "Data that the server stored for this application is missing or damaged. Open a "
                "new application, and tell the server's operator."
            )
        return data

    def exists(self, store: str, sha256: str) -> bool:
        """Return True if a blob with that name exists, without checking its content."""
        _check(store, sha256)
        with self._answers():
            return self._size(store, sha256) is not None

    def remove(self, store: str, sha256s: Iterable[str]) -> None:
        """Remove blobs; missing ones are ignored."""
        names = list(sha256s)
        _check(store, *names)
        with self._answers():
            self._backend.delete(store, names)

    def remove_store(self, store: str) -> None:
        """Remove all blobs of an application."""
        _check(store)
        with self._answers():
            self._backend.delete_store(store)

    def remove_unfinished(self, older_than: float) -> int:
        """Remove the remains of interrupted writes and removals; return their number.

        Only those begun more than `older_than` seconds ago, since another server may be writing.
        """
        with self._answers():
            return self._backend.delete_unfinished(older_than)

    def stores(self) -> Iterator[str]:
        """Return the names of the applications' stores, in order."""
        with self._answers():
            return iter(sorted(n for n in self._backend.stores() if _STORE.fullmatch(n)))

    def blobs_of(self, store: str) -> Iterator[tuple[str, int, float]]:
        """Return SHA-256, size in bytes and Unix time of the last change of each blob, in order."""
        _check(store)
        with self._answers():
            return iter(sorted(b for b in self._backend.blobs(store) if _SHA256.fullmatch(b[0])))

    def probe(self) -> None:
        """Raise StorageUnavailable unless the store can be reached."""
        with self._answers():
            self._backend.probe()

    def try_write(self) -> None:
        """Write and remove a test blob; raises StorageUnavailable if nothing can be written."""
        with self._answers():
            self._backend.try_write()

    def mark(self) -> bytes | None:
        """Return the mark that names the owner of the blobs; None if there is no mark."""
        with self._answers():
            return self._backend.read_mark()

    def claim(self, mark: bytes) -> bytes:
        """Write the mark unless there is one; return the mark that is there afterwards."""
        with self._answers():
            self._backend.create_mark(mark)
            return self._backend.read_mark() or b""

    def foreign(self) -> list[str]:
        """Return the names of foreign entries next to the stores, in order."""
        with self._answers():
            names = self._backend.names()
        return sorted(n for n in names if n not in OTHER_NAMES and not _STORE.fullmatch(n))

    def _content(self, store: str, sha256: str) -> bytes | None:
        size = self._size(store, sha256)
        if size is None or size > MAXIMUM_BYTES:
            return None
        try:
            return self._backend.get(store, sha256, size)
        except FileNotFoundError:
            return None  # removed after its size was read

    def _size(self, store: str, sha256: str) -> int | None:
        try:
            return self._backend.size(store, sha256)
        except FileNotFoundError:
            # Without this, a folder that is not mounted would look like damage to all blobs.
            self._backend.probe()
            return None

    @contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except self._backend.errors as error:
            fault = StorageUnavailable(
                "The server's store of ciphertexts cannot be reached, or refused the request. "
                "Nothing was lost; try again in a minute."
            )
            if is_full(error):
                fault = DiskFull(
                    "The server's store of ciphertexts has no room on its disk. Nothing was lost; "
                    "try again later."
                )
            self._on_fault(fault, error)
            raise fault from error


def _check(store: str, *sha256s: str) -> None:
    # Names become paths, so all are checked, whatever their source.
    if not _STORE.fullmatch(store) or not all(_SHA256.fullmatch(name) for name in sha256s):
        raise StoredDataDamaged(
            "The server's database contains an invalid name of a blob; tell the server's operator."
        )
