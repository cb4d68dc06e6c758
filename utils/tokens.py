"""Random ids and secrets from the operating system, and digests under which secrets are stored.

A secret has 256 random bits, so its plain SHA-256 can be neither reversed nor guessed; a salt or a
slow hash, as for passwords, is not needed.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

ID_BYTES = 16
SECRET_BYTES = 32


def new_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(ID_BYTES)


def new_secret() -> str:
    """Return 256 random bits in characters that are safe in a header."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> bytes:
    """Return the SHA-256 under which a secret is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def matches(secret: str, stored: bytes) -> bool:
    """Return True if `stored` is the digest of `secret`, comparing in constant time."""
    return hmac.compare_digest(digest(secret), stored)
