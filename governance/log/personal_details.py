"""Readable details of log entries, sealed under a key of the person whom they are about.

The log itself has only the SHA-256 of the sealed bytes. Destroying a person's key makes all details
of that person unreadable for good, while the log's entries and proofs stay as they are; the sealed
bytes may be deleted as well.

Sealed bytes are a nonce of 12 random bytes, a commitment of 32 and the ciphertext of AES-256-GCM
(NIST SP 800-38D, 2007). Its key and the commitment are derived from the person's key and the nonce
with HKDF-SHA-256 (RFC 5869). GCM alone can be opened under two keys with two different texts; with
the commitment, one entry has one text whatever key is shown.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from governance.canonical import canonical
from utils.errors import StoreDamaged
from utils.strict_json import parse_json

KEY_BYTES = 32
LARGEST_DETAILS = 16 * 1024
"""Bytes of the canonical JSON of an entry's details."""
_NONCE_BYTES, _COMMITMENT_BYTES, _TAG_BYTES = 12, 32, 16
_LARGEST_SEALED = _NONCE_BYTES + _COMMITMENT_BYTES + LARGEST_DETAILS + _TAG_BYTES
_SEALING, _SALT = b"triseal log details 1\n", b"triseal log pseudonym salt 1\n"


def new_person_key() -> bytes:
    """Return a random key for one person in one log, 32 bytes.

    Erasing the person is destroying every copy of it.
    """
    return os.urandom(KEY_BYTES)


def pseudonym_salt(person_key: bytes) -> bytes:
    """Return the salt for a person's pseudonyms, 32 bytes (governance/log/entries.py)."""
    return _derived(person_key, None, _SALT, 32)


def seal_details(details: Mapping[str, Any], person_key: bytes) -> bytes:
    """Return details sealed under a person's key of 32 bytes.

    Raises ValueError if they have no canonical JSON or are larger than LARGEST_DETAILS.
    """
    text = canonical(dict(details))
    if len(text) > LARGEST_DETAILS:
        raise ValueError(f"the details of an entry have at most {LARGEST_DETAILS} bytes")
    nonce = os.urandom(_NONCE_BYTES)
    key, commitment = _key_and_commitment(person_key, nonce)
    return nonce + commitment + AESGCM(key).encrypt(nonce, text, _SEALING)


def details_digest(sealed: bytes) -> str:
    """Return what the log entry has of sealed details: their SHA-256, in hexadecimal."""
    return hashlib.sha256(sealed).hexdigest()


def open_details(sealed: bytes, digest: str, person_key: bytes) -> dict[str, Any]:
    """Return the details of the entry that has this digest of them.

    Raises StoreDamaged if the sealed bytes are not those of the entry, or not of this person's key.
    """
    if len(sealed) > _LARGEST_SEALED or not hmac.compare_digest(details_digest(sealed), digest):
        raise StoreDamaged(
            "The stored details are not those that the log's entry names: they were altered, cut "
            "or swapped. Restore them from a backup."
        )
    nonce, commitment, ciphertext = (
        sealed[:_NONCE_BYTES],
        sealed[_NONCE_BYTES : _NONCE_BYTES + _COMMITMENT_BYTES],
        sealed[_NONCE_BYTES + _COMMITMENT_BYTES :],
    )
    key, expected = _key_and_commitment(person_key, nonce)
    try:
        if not hmac.compare_digest(commitment, expected):
            raise InvalidTag
        found = parse_json(AESGCM(key).decrypt(nonce, ciphertext, _SEALING))
        if not isinstance(found, dict):
            raise ValueError("details are an object")
    except (InvalidTag, ValueError) as error:
        raise StoreDamaged(
            "This key does not open the details of the entry: it is another person's, or the "
            "person's data were erased."
        ) from error
    return found


def _key_and_commitment(person_key: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    both = _derived(person_key, nonce, _SEALING, KEY_BYTES + _COMMITMENT_BYTES)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def _derived(person_key: bytes, salt: bytes | None, purpose: bytes, length: int) -> bytes:
    if len(person_key) != KEY_BYTES:
        raise ValueError(f"a person's key has {KEY_BYTES} bytes")
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=purpose).derive(person_key)
