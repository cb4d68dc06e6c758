"""Where ciphertexts and keys lie: blobs, each named by the SHA-256 of its content.

A blob is `<store>/<sha256>` below one place: a folder (`file:///…`), or whatever fsspec has a file
system for, such as an S3-compatible object store (`s3://bucket/prefix`). It appears whole or not
at all, and what is read back is compared with its name, so that a blob which was cut, swapped or
lost is an error and never a wrong answer.
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
"""More than any blob has; what is larger is not read into memory."""

_STORE = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class BlobPlace:
    """The address of the blobs, which workers are given too.

    `options` go to fsspec's file system, such as an endpoint and its keys; they are never shown.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    def __post_init__(self) -> None:
        if "@" in urlsplit(self.url).netloc:
            raise StorageUnavailable(
                "The address of the blobs (TRISEAL_BLOB_URL) holds a name or a password; put them "
                "into TRISEAL_BLOB_OPTIONS."
            )

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that the address names; None for any other store.

        Raises StorageUnavailable where the address cannot be used.
        """
        if urlsplit(self.url).scheme != "file":
            return None
        with self._usable():
            return folder_of(self.url)

    def open(self, on_fault: OnFault = untold) -> Blobs:
        """The blobs there; a folder is made where it is missing.

        `on_fault` is told where they cannot be reached. Raises StorageUnavailable where the
        address cannot be used; a store on the network is first asked when it is used.
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
                f"The place of the blobs cannot be used ({type(error).__name__}): set "
                "TRISEAL_BLOB_URL to a folder (file:///…) or to a store that fsspec knows "
                "(s3://bucket/prefix), and check TRISEAL_BLOB_OPTIONS."
            ) from error


class Blobs:
    """The blobs of all applications; thread-safe.

    `store` is the name of an application's part, 32 hexadecimal digits. All methods raise
    StorageUnavailable where the place does not answer, and StoredDataDamaged for a name that no
    blob can have.
    """

    def __init__(self, backend: ObjectBackend, on_fault: OnFault = untold) -> None:
        self._backend = backend
        self._on_fault = on_fault

    def keep(self, path: Path, store: str, sha256: str) -> None:
        """Make a file the blob of that name, durably; the file is gone afterwards.

        Content of the same name is replaced. On an error the file is still there, and no part of
        it is a blob.
        """
        _check(store, sha256)
        with self._answers():
            self._backend.put_file(store, sha256, path)

    def write(self, store: str, data: bytes) -> str:
        """Store bytes, durably; answers their SHA-256, the blob's name."""
        sha256 = hashlib.sha256(data).hexdigest()
        _check(store, sha256)
        with self._answers():
            self._backend.put(store, sha256, data)
        return sha256

    def read(self, store: str, sha256: str) -> bytes:
        """The content; raises StoredDataDamaged where it is missing or not what its name says."""
        _check(store, sha256)
        with self._answers():
            data = self._content(store, sha256)
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            raise StoredDataDamaged(
                "Something that the server kept for this application is missing or damaged. Open "
                "a new application, and tell the server's operator."
            )
        return data

    def exists(self, store: str, sha256: str) -> bool:
        """Whether there is a blob of that name, whatever its content."""
        _check(store, sha256)
        with self._answers():
            return self._size(store, sha256) is not None

    def remove(self, store: str, sha256s: Iterable[str]) -> None:
        """Remove blobs; those that are not there are fine."""
        names = list(sha256s)
        _check(store, *names)
        with self._answers():
            self._backend.delete(store, names)

    def remove_store(self, store: str) -> None:
        """Remove everything of an application."""
        _check(store)
        with self._answers():
            self._backend.delete_store(store)

    def remove_unfinished(self, older_than: float) -> int:
        """Remove what writing or removing left behind when it was cut off; answers how many.

        Only what was begun more than so many seconds ago: another server may be at work.
        """
        with self._answers():
            return self._backend.delete_unfinished(older_than)

    def stores(self) -> Iterator[str]:
        """The names of the applications' parts, in order."""
        with self._answers():
            return iter(sorted(n for n in self._backend.stores() if _STORE.fullmatch(n)))

    def blobs_of(self, store: str) -> Iterator[tuple[str, int, float]]:
        """(SHA-256, bytes, seconds since 1970 of its last change) of each blob, in order."""
        _check(store)
        with self._answers():
            return iter(sorted(b for b in self._backend.blobs(store) if _SHA256.fullmatch(b[0])))

    def probe(self) -> None:
        """Raises StorageUnavailable unless blobs can be stored and read."""
        with self._answers():
            self._backend.probe()

    def try_write(self) -> None:
        """Write and remove something; raises StorageUnavailable where nothing can be written."""
        with self._answers():
            self._backend.try_write()

    def mark(self) -> bytes | None:
        """Return the mark that says whose the blobs are; None where there is none."""
        with self._answers():
            return self._backend.read_mark()

    def claim(self, mark: bytes) -> bytes:
        """Write the mark unless there is one; return the one that is there afterwards."""
        with self._answers():
            self._backend.create_mark(mark)
            return self._backend.read_mark() or b""

    def foreign(self) -> list[str]:
        """Return the names beside the blobs that are not ours, in order."""
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
            return None  # removed in between

    def _size(self, store: str, sha256: str) -> int | None:
        try:
            return self._backend.size(store, sha256)
        except FileNotFoundError:
            # Without this a folder that is not mounted would look like damage to every blob.
            self._backend.probe()
            return None

    @contextmanager
    def _answers(self) -> Iterator[None]:
        try:
            yield
        except self._backend.errors as error:
            fault = StorageUnavailable(
                "The server cannot reach its store of ciphertexts, or the store refuses. Nothing "
                "was lost; try again in a minute."
            )
            if is_full(error):
                fault = DiskFull(
                    "The server's store of ciphertexts has no room on its disk. Nothing was lost; "
                    "try again later."
                )
            self._on_fault(fault, error)
            raise fault from error


def _check(store: str, *sha256s: str) -> None:
    # Names become paths, so nothing else may pass, wherever it came from.
    if not _STORE.fullmatch(store) or not all(_SHA256.fullmatch(name) for name in sha256s):
        raise StoredDataDamaged(
            "The server's database names a blob in a way that it never does; tell its operator."
        )
