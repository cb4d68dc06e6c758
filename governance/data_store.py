"""An owner's data sets on disk, encrypted, in a folder of the owner.

    master.json                 the wrapped master key (governance/store_key.py)
    manifest                    sealed: every data set's id, version, description, row count, digest
    <id>-<version>.records      the rows of one data set, each sealed by itself
    .lock                       held by the one process that uses the store

A sealed file begins with a magic and a random salt of 256 bits, from which HKDF derives a key for
this file alone. A row is sealed by AES-256-GCM (NIST SP 800-38D) with its position as nonce, and
with the data set's id, its version and the position as associated data. The manifest has the number
of rows and the SHA-256 of each file of rows. Altered, swapped, cut, added or older bytes of a data
set are StoreDamaged.

A change writes a new file of rows, then the manifest, atomically, and then removes the old file: a
crash leaves the state before or after the change.

A copy of the whole folder, put back later, is an older state that is consistent in itself. The
store cannot notice; its `generation` grows with every change, so that whoever noted it can. The
folder shows the number of data sets, their numbers of changes, and the lengths of rows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from governance import store_key
from governance.datasets import MOST_ROWS, DataSet, Description, Record
from governance.store_key import Secret, derive
from utils.atomic_files import write_atomic
from utils.errors import DataSetInvalid, StoreDamaged, UnknownDataSet
from utils.file_lock import HeldLock, hold_lock
from utils.marked_folder import claim_folder, is_marked
from utils.regular_files import read_regular
from utils.strict_json import parse_json
from utils.tokens import new_id

PURPOSE = "an owner's data store"
MASTER, MANIFEST, LOCK = "master.json", "manifest", ".lock"
MOST_DATA_SETS = 500
MOST_MANIFEST_BYTES = 32 * 1024 * 1024
MOST_RECORDS_BYTES = 128 * 1024 * 1024
MOST_ROW_BYTES = 8 * 1024 * 1024
MOST_SEARCH_CHARACTERS = 200
_MAGIC = b"TRIDATA1"
_MANIFEST_MAGIC = b"TRIMANI1"
_SALT_BYTES = 32
_LENGTH = struct.Struct(">I")
_POSITION = struct.Struct(">QQ")
_MASTER_BYTES = 4096
_RECORDS = re.compile(r"[0-9a-f]{32}-[0-9]{1,18}\.records")

DataSetId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stored(_Model):
    """A data set's entry in the manifest."""

    version: int = Field(ge=1, lt=10**18)
    description: Description
    rows: int = Field(ge=0, le=MOST_ROWS)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Manifest(_Model):
    generation: int = Field(ge=0, lt=10**18)
    data_sets: dict[DataSetId, Stored] = Field(max_length=MOST_DATA_SETS)


@dataclass(frozen=True)
class Listed:
    """The public facts of a stored data set."""

    id: str
    version: int
    description: Description


class DataStore:
    """An open store, which one process at a time can have. Close it, or use it in a `with`.

    One thread at a time may call it.
    """

    def __init__(self, folder: Path, master: bytes, lock: HeldLock, manifest: _Manifest) -> None:
        self._folder = folder
        self._master = master
        self._lock = lock
        self._manifest = manifest

    @classmethod
    def create(
        cls, folder: Path, secret: Secret, *, log2_n: int = store_key.SCRYPT_LOG2_N
    ) -> DataStore:
        """Create a store in an empty or new folder, and open it.

        Raises FolderNotOurs if the folder has anything else, DataSetInvalid if it has a store,
        DataFolderInUse and OSError.
        """
        claim_folder(folder, PURPOSE)
        lock = _hold(folder)
        try:
            # A manifest alone is what a creation leaves that was interrupted.
            has_rows = any(_RECORDS.fullmatch(path.name) for path in folder.iterdir())
            if (folder / MASTER).exists() or has_rows:
                raise DataSetInvalid(
                    f"{folder} has a data store; open it. If {MASTER} is missing there, restore it "
                    "from a backup."
                )
            store = cls(folder, secrets.token_bytes(store_key.KEY_BYTES), lock,
                        _Manifest(generation=0, data_sets={}))  # fmt: skip
            store._write_manifest(store._manifest)
            write_atomic(folder / MASTER, store_key.wrap(store._master, secret, log2_n))
        except BaseException:
            lock.close()
            raise
        return store

    @classmethod
    def open(cls, folder: Path, secret: Secret) -> DataStore:
        """Open a store.

        Raises UnknownDataSet if there is none, StoreLocked for a wrong secret, StoreDamaged,
        DataFolderInUse and OSError.
        """
        if not (folder / MASTER).exists():
            raise UnknownDataSet(f"There is no data store in {folder}; create it first.")
        if not is_marked(folder, PURPOSE):
            raise StoreDamaged(
                f"The file that marks {folder} as a data store is missing or was altered. Restore "
                "the whole folder from a backup."
            )
        lock = _hold(folder)
        try:
            master = store_key.unwrap(_read(folder / MASTER, _MASTER_BYTES), secret)
            data = _read(folder / MANIFEST, MOST_MANIFEST_BYTES)
            return cls(folder, master, lock, _open_manifest(data, master))
        except BaseException:
            lock.close()
            raise

    def close(self) -> None:
        """Let another process open the store. The object can no longer be used."""
        self._lock.close()
        self._master = b""

    def __enter__(self) -> DataStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def generation(self) -> int:
        """Number of changes since the store was created. An older state has a smaller one."""
        return self._manifest.generation

    def masking_key(self) -> bytes:
        """Return the owner's key for masks (governance/masking.py), the same in every session."""
        return derive(self._opened(), None, "masking")

    def book_key(self) -> bytes:
        """Return the key for the owner's book of requests (parties/governance/request_book.py)."""
        return derive(self._opened(), None, "book of requests")

    def list(self) -> tuple[Listed, ...]:
        """Return all data sets without their values, by tag."""
        found = [
            Listed(name, stored.version, stored.description)
            for name, stored in self._manifest.data_sets.items()
        ]
        return tuple(sorted(found, key=lambda each: (each.description.tag, each.id)))

    def search(self, *, words: str = "", tag: str = "") -> tuple[Listed, ...]:
        """Return the data sets with this tag whose tag and words contain all of these words.

        Upper and lower case are the same. Without words and tag, all data sets are returned.
        """
        wanted = words[:MOST_SEARCH_CHARACTERS].casefold().split()

        def fits(description: Description) -> bool:
            text = f"{description.tag} {description.words}".casefold()
            return (not tag or description.tag == tag) and all(word in text for word in wanted)

        return tuple(each for each in self.list() if fits(each.description))

    def store(self, data: DataSet) -> str:
        """Store a new data set and return its id; raises DataSetInvalid and OSError."""
        if len(self._manifest.data_sets) >= MOST_DATA_SETS:
            raise DataSetInvalid(
                f"The data store has {MOST_DATA_SETS} data sets, the most; remove one first."
            )
        name = new_id()
        self._write(name, data, 1)
        return name

    def replace(self, name: str, data: DataSet) -> int:
        """Replace a data set and return its new version.

        Raises UnknownDataSet, DataSetInvalid and OSError.
        """
        version = self._entry(name).version + 1
        self._write(name, data, version)
        return version

    def remove(self, name: str) -> None:
        """Remove a data set and delete its file; raises UnknownDataSet and OSError.

        The bytes may remain on the disk until it reuses them, unreadable without the master key.
        """
        self._entry(name)
        left = {each: s for each, s in self._manifest.data_sets.items() if each != name}
        self._commit(left)

    def describe(self, name: str) -> Listed:
        """Return one data set without its values; raises UnknownDataSet."""
        stored = self._entry(name)
        return Listed(name, stored.version, stored.description)

    def rows(self, name: str) -> tuple[Record, ...]:
        """Return the rows of a data set; raises UnknownDataSet, StoreDamaged and OSError."""
        stored = self._entry(name)
        data = _read(self._path(name, stored.version), MOST_RECORDS_BYTES)
        if not hmac.compare_digest(hashlib.sha256(data).hexdigest(), stored.digest):
            raise _damaged(name)
        names = [column.name for column in stored.description.columns]
        return tuple(
            _row(text, names, name)
            for text in _unsealed_rows(data, self._opened(), name, stored.version, stored.rows)
        )

    def data_set(self, name: str) -> DataSet:
        """Return a data set with its rows; raises as `rows` does."""
        return DataSet(self._entry(name).description, self.rows(name))

    def _write(self, name: str, data: DataSet, version: int) -> None:
        names = [column.name for column in data.description.columns]
        texts = []
        for row in data.rows:
            values = [row[each] for each in names]
            texts.append(json.dumps(values, ensure_ascii=False, allow_nan=False).encode())
        if any(len(text) > MOST_ROW_BYTES for text in texts):
            raise DataSetInvalid(f"A row has more than {MOST_ROW_BYTES} bytes; shorten its texts.")
        sealed = sealed_rows(texts, self._opened(), name, version)
        if len(sealed) > MOST_RECORDS_BYTES:
            raise DataSetInvalid(
                f"The data set has more than {MOST_RECORDS_BYTES} bytes; divide it."
            )
        stored = Stored(
            version=version,
            description=data.description,
            rows=len(texts),
            digest=hashlib.sha256(sealed).hexdigest(),
        )
        write_atomic(self._path(name, version), sealed)
        self._commit({**self._manifest.data_sets, name: stored})

    def _commit(self, data_sets: dict[str, Stored]) -> None:
        manifest = _Manifest(generation=self.generation + 1, data_sets=data_sets)
        self._write_manifest(manifest)
        self._manifest = manifest
        kept = {self._path(name, stored.version).name for name, stored in data_sets.items()}
        for path in self._folder.iterdir():
            if _RECORDS.fullmatch(path.name) and path.name not in kept:
                path.unlink(missing_ok=True)

    def _write_manifest(self, manifest: _Manifest) -> None:
        text = manifest.model_dump_json().encode()
        salt = secrets.token_bytes(_SALT_BYTES)
        key = derive(self._opened(), salt, "manifest")
        sealed = AESGCM(key).encrypt(_nonce(0), text, _MANIFEST_MAGIC)
        data = _MANIFEST_MAGIC + salt + sealed
        if len(data) > MOST_MANIFEST_BYTES:
            raise DataSetInvalid("The descriptions are too large together; remove a data set.")
        write_atomic(self._folder / MANIFEST, data)

    def _entry(self, name: str) -> Stored:
        self._opened()
        found = self._manifest.data_sets.get(name)
        if found is None:
            raise UnknownDataSet(f"There is no data set {name[:64]!r} here; list them first.")
        return found

    def _opened(self) -> bytes:
        if not self._master:
            raise UnknownDataSet("The data store was closed; open it again.")
        return self._master

    def _path(self, name: str, version: int) -> Path:
        return self._folder / f"{name}-{version}.records"


def sealed_rows(texts: list[bytes], master: bytes, name: str, version: int) -> bytes:
    """Return the file of rows: magic, salt, and each row's length and ciphertext with tag."""
    salt = secrets.token_bytes(_SALT_BYTES)
    seal = AESGCM(derive(master, salt, f"rows of {name}, {version}"))
    parts = [_MAGIC, salt]
    for position, text in enumerate(texts):
        sealed = seal.encrypt(_nonce(position), text, _bound(name, version, position))
        parts += (_LENGTH.pack(len(sealed)), sealed)
    return b"".join(parts)


def _unsealed_rows(
    data: bytes, master: bytes, name: str, version: int, count: int
) -> Iterator[bytes]:
    start = len(_MAGIC) + _SALT_BYTES
    if len(data) < start or data[: len(_MAGIC)] != _MAGIC:
        raise _damaged(name)
    seal = AESGCM(derive(master, data[len(_MAGIC) : start], f"rows of {name}, {version}"))
    for position in range(count):
        if len(data) < start + _LENGTH.size:
            raise _damaged(name)
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        sealed = data[start : start + length]
        start += length
        try:
            text = seal.decrypt(_nonce(position), sealed, _bound(name, version, position))
        except InvalidTag as error:
            raise _damaged(name) from error
        yield text
    if start != len(data):
        raise _damaged(name)


def _row(text: bytes, names: list[str], name: str) -> Record:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise _damaged(name) from error
    if not isinstance(values, list) or len(values) != len(names):
        raise _damaged(name)
    return dict(zip(names, values, strict=True))


def _open_manifest(data: bytes, master: bytes) -> _Manifest:
    start = len(_MANIFEST_MAGIC) + _SALT_BYTES
    salt = data[len(_MANIFEST_MAGIC) : start]
    try:
        if data[: len(_MANIFEST_MAGIC)] != _MANIFEST_MAGIC or len(salt) < _SALT_BYTES:
            raise ValueError("no manifest")
        key = derive(master, salt, "manifest")
        return _Manifest.model_validate_json(
            AESGCM(key).decrypt(_nonce(0), data[start:], _MANIFEST_MAGIC)
        )
    except (InvalidTag, ValueError, ValidationError) as error:
        raise StoreDamaged(
            "The data store's manifest was altered, or is that of another store. Restore the whole "
            "folder from a backup."
        ) from error


def _bound(name: str, version: int, position: int) -> bytes:
    return _MAGIC + bytes.fromhex(name) + _POSITION.pack(version, position)


def _nonce(position: int) -> bytes:
    return position.to_bytes(store_key.NONCE_BYTES, "big")  # the key is for one file alone


def _damaged(name: str) -> StoreDamaged:
    return StoreDamaged(
        f"The rows of the data set {name} were altered, cut, swapped, or replaced by older ones. "
        "Restore the whole folder from a backup, or remove the data set and store it again."
    )


def _read(path: Path, most: int) -> bytes:
    try:
        found = read_regular(path, most + 1, follow_link=False)
    except FileNotFoundError:
        found = None
    if found is None:
        raise StoreDamaged(
            f"{path.name} of the data store is missing. Restore the whole folder from a backup."
        )
    if len(found[0]) > most:
        raise StoreDamaged(f"{path.name} of the data store is too large to be its own file.")
    return found[0]


def _hold(folder: Path) -> HeldLock:
    return hold_lock(
        folder / LOCK,
        f"Another process is using the data store in {folder}; stop that process first.",
    )
