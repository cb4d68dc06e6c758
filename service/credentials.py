"""Ids, join codes and tokens: drawn from the operating system, kept as digests only.

A code or token has 256 random bits, so a plain SHA-256 of it can be neither reversed nor guessed
(no salt, no slow hash: those are for passwords that people choose).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from service.records import ApplicationRecord
from utils.errors import InvalidRequest, NotAuthorised

ID_BYTES = 16
SECRET_BYTES = 32
_CLIENT_ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(ID_BYTES)


def new_secret() -> str:
    """256 random bits in letters that fit a header."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> bytes:
    """What is stored of a code or token."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def matches(secret: str, stored: bytes) -> bool:
    """Whether this is the secret of that digest, in a time that tells nothing."""
    return hmac.compare_digest(digest(secret), stored)


def require_id(client_id: str) -> None:
    """Raises InvalidRequest for anything but an id's form, before it is used for anything."""
    if not _CLIENT_ID.fullmatch(client_id):
        raise InvalidRequest("client_id must be 32 hexadecimal digits, as given at opening.")


def bearer_of(application: ApplicationRecord, token: str | None) -> str:
    """The party whose token this is; raises NotAuthorised."""
    if token is None:
        raise NotAuthorised("Send the party's token as `Authorization: Bearer <token>`.")
    bearers = [
        seat.party
        for seat in application.parties
        if seat.token_digest is not None and matches(token, seat.token_digest)
    ]
    if not bearers:
        raise NotAuthorised("This token is not one of this application; join it to get one.")
    return bearers[0]


def require_viewer(application: ApplicationRecord, token: str | None) -> None:
    """Raises NotAuthorised unless this is a party's token, or the one for watching."""
    if token is None or not matches(token, application.watch_digest):
        bearer_of(application, token)
