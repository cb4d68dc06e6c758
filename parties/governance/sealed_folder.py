"""Files that one agent keeps for itself, each sealed under the key file of their folder.

A file is `FORMAT`, a random nonce of 96 bits, and the content in ChaCha20-Poly1305 (RFC 8439),
bound to the file's name, so that files cannot be exchanged. The key file has mode 0600. It protects
copies of the other files, for example in a backup without it.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from governance.store_key import derive, key_file, make_key_file
from utils.atomic_files import private_folder, write_atomic
from utils.errors import StoreDamaged, StoreLocked
from utils.file_lock import hold_lock
from utils.regular_files import read_regular

FORMAT = b"triseal sealed file 1"
KEY_FILE = "key"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_LOCK = ".lock"


class SealedFolder:
    """An open folder, which one process at a time can have."""

    def __init__(self, folder: Path) -> None:
        """Open or create the folder.

        Raises DataFolderInUse, StoreLocked if the key file is missing or others can read it, and
        OSError.
        """
        self._folder = private_folder(folder)
        self._lock = hold_lock(
            folder / _LOCK, f"Another process is using {folder}; stop it, or choose another folder."
        )
        try:
            self._cipher = ChaCha20Poly1305(derive(_key(folder), None, "an agent's files"))
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let another process open the folder."""
        self._lock.close()

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically; raises OSError."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, data, _bound(name))
        write_atomic(self._folder / name, FORMAT + nonce + sealed)

    def read(self, name: str, most: int) -> bytes | None:
        """Return a file's content of at most `most` bytes, or None if there is no such file.

        Raises StoreDamaged if it was altered, cut or exchanged, and OSError.
        """
        overhead = len(FORMAT) + _NONCE_BYTES + _TAG_BYTES
        try:
            found = read_regular(self._folder / name, most + overhead + 1)
        except FileNotFoundError:
            return None
        data = b"" if found is None else found[0]
        if not overhead <= len(data) <= most + overhead or not data.startswith(FORMAT):
            raise _damaged(name)
        nonce, sealed = data[len(FORMAT) :][:_NONCE_BYTES], data[len(FORMAT) + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, sealed, _bound(name))
        except InvalidTag as error:
            raise _damaged(name) from error

    def names(self, suffix: str) -> list[str]:
        """Return the names of the files that end with `suffix`, sorted."""
        return sorted(path.name for path in self._folder.glob(f"[!.]*{suffix}"))

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        (self._folder / name).unlink(missing_ok=True)


def _key(folder: Path) -> bytes:
    path = folder / KEY_FILE
    if not path.exists():
        if any(each.name not in (_LOCK,) for each in folder.iterdir()):
            raise StoreLocked(f"{path} is missing; restore it from its backup.")
        make_key_file(path)
    return key_file(path).value


def _bound(name: str) -> bytes:
    return FORMAT + b"\n" + name.encode()


def _damaged(name: str) -> StoreDamaged:
    return StoreDamaged(
        f"The file {name} was altered, cut or exchanged. Restore it from a backup, or remove it."
    )
