"""The keys of the server's log, derived from one secret of 32 bytes.

The secret is in the settings, which several servers of one database share, or it is generated once
and kept in the server's folder. Each key is derived from it with HKDF-SHA-256 (RFC 5869). Whoever
has the secret can sign checkpoints and permits for the server, and recognise institutions in the
log's pseudonyms; a person only while the person's own key exists.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from settings import Settings
from utils.atomic_files import write_atomic
from utils.disk_errors import storage_fault
from utils.errors import StoredDataDamaged

FILE = "log_key"
SECRET_BYTES = 32
_ORIGIN_DIGITS = 16


@dataclass(frozen=True)
class LogKeys:
    """The log's name and keys: for checkpoints, for the server's permits, and for pseudonyms.

    The name contains a digest of the public key, so that no two logs have the same one.
    """

    origin: str
    signing: Ed25519PrivateKey = field(repr=False)
    permits: Ed25519PrivateKey = field(repr=False)
    pseudonyms: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> Self:
        """Derive the keys from a secret of 32 bytes."""
        signing = Ed25519PrivateKey.from_private_bytes(_derived(secret, b"checkpoints"))
        name = hashlib.sha256(signing.public_key().public_bytes_raw()).hexdigest()[:_ORIGIN_DIGITS]
        return cls(
            origin=f"triseal/{name}",
            signing=signing,
            permits=Ed25519PrivateKey.from_private_bytes(_derived(secret, b"permits")),
            pseudonyms=_derived(secret, b"pseudonyms"),
        )

    @property
    def public(self) -> bytes:
        """The public key of the checkpoints, 32 bytes."""
        return self.signing.public_key().public_bytes_raw()

    @property
    def permit_public(self) -> bytes:
        """The public key of the server's permits, 32 bytes."""
        return self.permits.public_key().public_bytes_raw()


def log_keys(settings: Settings) -> LogKeys:
    """Return the server's keys; generate and store the secret if there is none yet.

    Raises StorageUnavailable if it cannot be read or stored, StoredDataDamaged if it is not one.
    """
    if settings.log_key is not None:
        return LogKeys.of(bytes.fromhex(settings.log_key.get_secret_value()))
    path = settings.server_data / FILE
    try:
        if not path.exists():
            write_atomic(path, Ed25519PrivateKey.generate().private_bytes_raw())
        secret = path.read_bytes()
    except OSError as error:
        raise storage_fault(
            f"The server cannot read or store the key of its log in {path}", error
        ) from error
    if len(secret) != SECRET_BYTES:
        raise StoredDataDamaged(
            f"The key of the server's log in {path} is damaged. Restore it from a backup: with "
            "another key, the log can neither be continued nor proved."
        )
    return LogKeys.of(secret)


def _derived(secret: bytes, purpose: bytes) -> bytes:
    info = b"triseal server log 1 " + purpose + b"\n"
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret)
