"""Ids, join codes and tokens: random values from the operating system.

Codes and tokens are stored as digests only. Each has 256 random bits, so its plain SHA-256 can be
neither reversed nor guessed; a salt or a slow hash, as for passwords, is not needed. A token
permits what its scopes list until it expires or is revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from service.applications.views import Application, Token
from utils.errors import ForbiddenScope, InvalidRequest, NotAuthorised

ID_BYTES = 16
SECRET_BYTES = 32
_CLIENT_ID = re.compile(r"[0-9a-f]{32}")

SEND, RUN, READ, RELAY, ERASE = "send", "run", "read", "relay", "erase"
PARTY_SCOPES = (SEND, RUN, READ, RELAY, ERASE)
"""The scopes of a party's token, unless the party asked for fewer when it joined."""
WATCH = "watch"
"""The scope of the watch token: read the state and the traffic."""


def new_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(ID_BYTES)


def new_secret() -> str:
    """Return 256 random bits in characters that are safe in a header."""
    return secrets.token_urlsafe(SECRET_BYTES)


def digest(secret: str) -> bytes:
    """Return the SHA-256 under which a code or token is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def matches(secret: str, stored: bytes) -> bool:
    """Return True if `stored` is the digest of `secret`, comparing in constant time."""
    return hmac.compare_digest(digest(secret), stored)


def require_id(client_id: str) -> None:
    """Raise InvalidRequest if `client_id` is not a valid id."""
    if not _CLIENT_ID.fullmatch(client_id):
        raise InvalidRequest(
            "client_id must be 32 hexadecimal digits, as returned when the application was opened."
        )


def token_of(application: Application, secret: str | None, now: float) -> Token:
    """Return the application's token with that secret; raises NotAuthorised."""
    if secret is None:
        raise NotAuthorised("Send the party's token as `Authorization: Bearer <token>`.")
    own = digest(secret)
    found = [token for token in application.tokens if hmac.compare_digest(own, token.digest)]
    if not found:
        raise NotAuthorised(
            "This token does not belong to this application; join the application to get one."
        )
    if found[0].expires <= now:
        raise NotAuthorised(
            "This token has expired; a token can be renewed only while it is valid. Open a new "
            "application."
        )
    return found[0]


def bearer_of(application: Application, secret: str | None, scope: str, now: float) -> str:
    """Return the party that owns the token.

    Raises NotAuthorised, and ForbiddenScope if the token lacks `scope`.
    """
    token = token_of(application, secret, now)
    if token.party is None:
        raise NotAuthorised("This token is for watching only; join the application to take part.")
    if scope not in token.scopes:
        raise ForbiddenScope(
            f"This token lacks the scope {scope}; its scopes are {', '.join(token.scopes)}."
        )
    return token.party


def require_viewer(application: Application, secret: str | None, now: float) -> None:
    """Raise unless the token may see the state: a party's with `read`, or the watch token."""
    if token_of(application, secret, now).party is not None:
        bearer_of(application, secret, READ, now)
