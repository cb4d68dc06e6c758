"""Access to an agent's HTTP interface: a token in the agent's folder, and a limit on calls.

The interface is for programs of the person whose agent it is. The token is a file that only this
user of the machine can read.
"""

from __future__ import annotations

import hmac
import stat
from pathlib import Path

from fastapi.security import HTTPBearer
from starlette.requests import Request

from utils.atomic_files import private_folder, write_new
from utils.errors import NotAuthorised
from utils.regular_files import read_regular
from utils.tokens import SECRET_BYTES, digest, new_secret
from web.content_types import held_by

API_TOKEN = "api_token"  # noqa: S105 - the name of a file
_LARGEST = 256
_OF_OTHERS = 0o077


def api_token(home: Path) -> str:
    """Return the token in the folder `home`; create both if they are missing.

    It has 256 random bits. Raises NotAuthorised if other users have access to the file or it has no
    token, and OSError.
    """
    path = home / API_TOKEN
    found = read_regular(path, _LARGEST) if path.exists() else None
    if found is None:
        private_folder(home)
        write_new(path, new_secret().encode() + b"\n")
        found = read_regular(path, _LARGEST)  # another process may have been faster
    if found is None:
        raise NotAuthorised(f"{path} is not a file. Remove it; the agent then makes a new token.")
    data, mode = found
    if stat.S_IMODE(mode) & _OF_OTHERS:
        raise NotAuthorised(
            f"Other users have access to {path}. Remove it; the agent then makes a new token."
        )
    token = data.decode("ascii", "replace").strip()
    if len(token) < SECRET_BYTES:
        raise NotAuthorised(f"{path} has no token. Remove it; the agent then makes a new one.")
    return token


class ApiToken(HTTPBearer):
    """Lets a call pass that has the agent's token, and counts it.

    Raises TooManyRequests, and NotAuthorised for a wrong or missing token.
    """

    async def __call__(self, request: Request) -> None:  # type: ignore[override]
        credentials = await super().__call__(request)
        given = "" if credentials is None else credentials.credentials
        state = request.app.state
        limits = state.rate_limits
        limits.called(given)
        held_by(request.scope).enter_context(limits.calling(given))
        if not hmac.compare_digest(digest(given), state.token_digest):
            raise NotAuthorised(
                f"Send the agent's token, the content of {API_TOKEN} in its folder, as "
                "`Authorization: Bearer TOKEN`."
            )


require_token = ApiToken(
    auto_error=False,
    scheme_name="agent",
    description=f"The agent's token, the content of the file `{API_TOKEN}` in its folder.",
)
