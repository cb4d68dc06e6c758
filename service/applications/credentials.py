"""Ids, join codes and tokens: drawn from the operating system, kept as digests only.

A code or token has 256 random bits, so a plain SHA-256 of it can be neither reversed nor guessed
(no salt, no slow hash: those are for passwords that people choose). A token may do what its scopes
say, until its time is over or it is revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from service.applications.views import Application
from service.storage.tables import TokenRecord
from utils.errors import ForbiddenScope, InvalidRequest, NotAuthorised

ID_BYTES = 16
SECRET_BYTES = 32
_CLIENT_ID = re.compile(r"[0-9a-f]{32}")

SEND, RUN, READ, RELAY, ERASE = "send", "run", "read", "relay", "erase"
PARTY_SCOPES = (SEND, RUN, READ, RELAY, ERASE)
"""What a party's token may do, unless fewer were asked for when it joined."""
WATCH = "watch"
"""What the opener's token may do: see the state and what travelled."""


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


def token_of(application: Application, secret: str | None, now: float) -> TokenRecord:
    """The application's token of that secret; raises NotAuthorised."""
    if secret is None:
        raise NotAuthorised("Send the party's token as `Authorization: Bearer <token>`.")
    found = [token for token in application.tokens if matches(secret, token.digest)]
    if not found:
        raise NotAuthorised("This token is not one of this application; join it to get one.")
    if found[0].expires <= now:
        raise NotAuthorised(
            "This token's time is over; a token is renewed while it is valid. Open a new "
            "application."
        )
    return found[0]


def bearer_of(application: Application, secret: str | None, scope: str, now: float) -> str:
    """The party whose token this is; raises NotAuthorised, and ForbiddenScope without `scope`."""
    token = token_of(application, secret, now)
    if token.party is None:
        raise NotAuthorised("This token is for watching only; join the application to take part.")
    if scope not in token.scopes:
        raise ForbiddenScope(
            f"This token may not {scope}; it was made for: {', '.join(token.scopes)}."
        )
    return token.party


def require_viewer(application: Application, secret: str | None, now: float) -> None:
    """Raises unless this token may see the state: a party's that may read, or one for watching."""
    if token_of(application, secret, now).party is not None:
        bearer_of(application, secret, READ, now)
