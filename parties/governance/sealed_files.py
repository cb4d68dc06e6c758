"""Encrypted files in one folder of an agent.

A file begins with a magic and a random salt of 256 bits, from which HKDF derives the key of this
file alone (governance/store_key.py); the cipher is AES-256-GCM (NIST SP 800-38D), with the file's
name as associated data. Files are written atomically, for their owner only.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from governance.store_key import derive
from utils.atomic_files import private_folder, write_atomic
from utils.errors import InvalidRequest, QuotaExceeded, StoreDamaged
from utils.regular_files import read_regular

_MAGIC = b"TRIBOOK1"
_SALT_BYTES = 32
_START = len(_MAGIC) + _SALT_BYTES
_TAG_BYTES = 16
_NONCE = bytes(12)  # the key is for one file alone
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")


class SealedFiles:
    """The encrypted files of a folder, under a key of 256 bits; `purpose` separates folders."""

    def __init__(self, folder: Path, key: bytes, purpose: str, most_bytes: int) -> None:
        self._folder, self._key = private_folder(folder), key
        self._purpose, self._most = purpose, most_bytes

    def write(self, name: str, data: bytes) -> None:
        """Write a file; raises QuotaExceeded if it is too large, InvalidRequest and OSError."""
        if len(data) > self._most:
            raise QuotaExceeded(f"A file of {self._purpose} has grown too large; begin a new one.")
        salt = secrets.token_bytes(_SALT_BYTES)
        sealed = self._seal(salt).encrypt(_NONCE, data, _bound(name))
        write_atomic(self._path(name), _MAGIC + salt + sealed)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, or None if there is none; raises StoreDamaged, OSError."""
        most = self._most + _START + _TAG_BYTES
        try:
            found = read_regular(self._path(name), most + 1, follow_link=False)
        except FileNotFoundError:
            return None
        if found is None or not _START <= len(found[0]) <= most or found[0][:8] != _MAGIC:
            raise self.damaged()
        seal = self._seal(found[0][len(_MAGIC) : _START])
        try:
            return seal.decrypt(_NONCE, found[0][_START:], _bound(name))
        except InvalidTag as error:
            raise self.damaged() from error

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        self._path(name).unlink(missing_ok=True)

    def names(self) -> tuple[str, ...]:
        """Return the names of all files in the folder, sorted."""
        return tuple(
            sorted(path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name))
        )

    def damaged(self) -> StoreDamaged:
        """Return the error of a file that is not what was written."""
        return StoreDamaged(
            f"A file of {self._purpose} was altered, cut, or replaced by an older one. Restore the "
            "whole folder of the agent from a backup."
        )

    def _seal(self, salt: bytes) -> AESGCM:
        return AESGCM(derive(self._key, salt, self._purpose))

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidRequest("This cannot be the name of a file here.")
        return self._folder / name


def _bound(name: str) -> bytes:
    return _MAGIC + name.encode()
