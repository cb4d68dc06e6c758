"""The master key of a data store, wrapped by a passphrase or by a key file.

The master key is 256 random bits. It is wrapped by AES-256-GCM under a key from the passphrase
(scrypt, RFC 7914, with N = 2^17, r = 8, p = 1: 128 MiB and about half a second) or from the 32
bytes of the key file (HKDF-SHA-256, RFC 5869). All other keys are derived from it by HKDF.

The wrapped key is in a JSON file with a plain digest, so that a damaged file is not mistaken for a
wrong passphrase. Somebody who can write the file can make the store unreadable, but learns nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.atomic_files import write_new
from utils.errors import StoreDamaged, StoreLocked
from utils.regular_files import read_regular

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_BYTES = 12
SCRYPT_LOG2_N, SCRYPT_R, SCRYPT_P = 17, 8, 1
SHORTEST_PASSPHRASE = 12
LONGEST_PASSPHRASE = 1024
_OF_OTHERS = 0o077
_HEX = r"^[0-9a-f]{%d}$"


class WrappedKey(BaseModel):
    """The content of the file of the wrapped master key. Binary members are hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    by: Literal["passphrase", "key_file"]
    log2_n: int = Field(default=SCRYPT_LOG2_N, ge=14, le=20, strict=True)
    salt: str = Field(pattern=_HEX % (2 * SALT_BYTES))
    nonce: str = Field(pattern=_HEX % (2 * NONCE_BYTES))
    wrapped: str = Field(pattern=_HEX % (2 * (KEY_BYTES + 16)))
    digest: str = Field(pattern=_HEX % 64)


@dataclass(frozen=True, repr=False)
class Secret:
    """The secret that opens a store: a passphrase, or the bytes of a key file."""

    by: Literal["passphrase", "key_file"]
    value: bytes


def passphrase(text: str) -> Secret:
    """Return the secret of a passphrase of 12 to 1024 characters; raises StoreLocked.

    It is normalised (NFKC), so that different keyboards and systems give the same bytes.
    """
    if not SHORTEST_PASSPHRASE <= len(text) <= LONGEST_PASSPHRASE:
        raise StoreLocked(
            f"The passphrase has {len(text)} characters; use {SHORTEST_PASSPHRASE} or more, for "
            "example five random words."
        )
    return Secret("passphrase", unicodedata.normalize("NFKC", text).encode("utf-8", "replace"))


def make_key_file(path: Path) -> None:
    """Write a new key file of mode 0600; raises StoreLocked if the file exists, and OSError."""
    if not write_new(path, secrets.token_bytes(KEY_BYTES)):
        raise StoreLocked(f"{path} exists, and is not overwritten. Choose another path.")


def key_file(path: Path) -> Secret:
    """Return the secret of a key file; raises StoreLocked if it cannot be used, and OSError."""
    try:
        found = read_regular(path, KEY_BYTES + 1)
    except FileNotFoundError as error:
        raise StoreLocked(f"There is no key file {path}; restore it from its backup.") from error
    if found is None:
        raise StoreLocked(f"{path} is not a file. Put the key file there.")
    data, mode = found
    if stat.S_IMODE(mode) & _OF_OTHERS:
        raise StoreLocked(
            f"Other users have access to {path}. Run `chmod 600 {path}`; if others may have read "
            "it, make a new store with a new key file."
        )
    if len(data) != KEY_BYTES:
        raise StoreLocked(f"{path} is not a key file, which has {KEY_BYTES} bytes.")
    return Secret("key_file", data)


def wrap(master: bytes, secret: Secret, log2_n: int = SCRYPT_LOG2_N) -> bytes:
    """Return the content of the file of the wrapped key."""
    salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
    outer = _outer_key(secret, salt, log2_n)
    found = {
        "format": 1,
        "by": secret.by,
        "log2_n": log2_n,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
        "wrapped": AESGCM(outer).encrypt(nonce, master, _bound(secret.by, log2_n)).hex(),
    }
    return json.dumps({**found, "digest": _digest(found)}, indent=1).encode() + b"\n"


def unwrap(data: bytes, secret: Secret) -> bytes:
    """Return the master key. Raises StoreLocked for a wrong secret, and StoreDamaged."""
    try:
        found = WrappedKey.model_validate_json(data)
    except ValidationError as error:
        raise StoreDamaged(_DAMAGED) from error
    # Every byte of the file counts, also one between members or in a name.
    fields = found.model_dump(exclude={"digest"})
    if json.dumps(found.model_dump(), indent=1).encode() + b"\n" != data:
        raise StoreDamaged(_DAMAGED)
    if _digest(fields) != found.digest:
        raise StoreDamaged(_DAMAGED)
    if found.by != secret.by:
        raise StoreLocked(f"This data store is opened by a {found.by.replace('_', ' ')}.")
    outer = _outer_key(secret, bytes.fromhex(found.salt), found.log2_n)
    try:
        return AESGCM(outer).decrypt(
            bytes.fromhex(found.nonce),
            bytes.fromhex(found.wrapped),
            _bound(found.by, found.log2_n),
        )
    except InvalidTag as error:
        name = secret.by.replace("_", " ")
        raise StoreLocked(
            f"This {name} does not open the data store; use the right one."
        ) from error


def derive(key: bytes, salt: bytes | None, purpose: str) -> bytes:
    """Return a key of 256 bits for a purpose."""
    return HKDF(SHA256(), KEY_BYTES, salt, f"triseal data store 1: {purpose}".encode()).derive(key)


_DAMAGED = (
    "The file of the data store's wrapped key was altered. Restore it from a backup; without it "
    "nothing in the store can be read."
)


def _outer_key(secret: Secret, salt: bytes, log2_n: int) -> bytes:
    if secret.by == "key_file":
        return derive(secret.value, salt, "key file")
    return Scrypt(salt, KEY_BYTES, 2**log2_n, SCRYPT_R, SCRYPT_P).derive(secret.value)


def _bound(by: str, log2_n: int) -> bytes:
    return f"triseal data store 1: master key by {by}, {log2_n}".encode()


def _digest(fields: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
