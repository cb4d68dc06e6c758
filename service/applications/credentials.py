"""The checks of ids, tokens and scopes.

Join codes and tokens are stored as digests only (utils/tokens.py). A token permits what its scopes
list until it expires or is revoked.
"""

from __future__ import annotations

import hmac
import re

from service.applications.views import Application, Token
from utils.errors import ForbiddenScope, InvalidRequest, NotAuthorised
from utils.tokens import digest

_CLIENT_ID = re.compile(r"[0-9a-f]{32}")

SEND, RUN, READ, RELAY, ERASE = "send", "run", "read", "relay", "erase"
PARTY_SCOPES = (SEND, RUN, READ, RELAY, ERASE)
"""The scopes of a party's token, unless the party asked for fewer when it joined."""
WATCH = "watch"
"""The scope of the watch token: read the state and the traffic."""
_SOURCE = (
    "`POST /applications` opens an application and returns a join code for each party; "
    "`POST /applications/{client_id}/join` with that code returns the party's token."
)


def require_id(client_id: str) -> None:
    """Raise InvalidRequest if `client_id` is not a valid id."""
    if not _CLIENT_ID.fullmatch(client_id):
        raise InvalidRequest(
            "client_id must be 32 hexadecimal digits, as returned when the application was opened."
        )


def token_of(application: Application, secret: str | None, now: float) -> Token:
    """Return the application's token with that secret; raises NotAuthorised."""
    if secret is None:
        raise NotAuthorised(f"Send the party's token as `Authorization: Bearer <token>`. {_SOURCE}")
    own = digest(secret)
    found = [token for token in application.tokens if hmac.compare_digest(own, token.digest)]
    if not found:
        raise NotAuthorised(f"This token does not belong to this application. {_SOURCE}")
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
