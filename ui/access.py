"""The secret that opens a page: in the link once, and then in a cookie of the browser.

The link goes on working as long as the process runs, for a second browser or after a restart of
the first; the cookie ends with the browser's session. Neither is any use with another process.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from pydantic import SecretStr
from starlette.requests import cookie_parser

PARAMETER = "token"


class PageAccess:
    """What opens the page `name` at `port`; the token is drawn unless one is given.

    Cookies are sent to every port of a host, so their name tells the pages there apart.
    """

    def __init__(self, name: str, port: int, token: SecretStr | None = None) -> None:
        self.token = secrets.token_urlsafe(32) if token is None else token.get_secret_value()
        self._name = f"triseal-{name}-{port}"
        self._value = secrets.token_urlsafe(32)
        self.given = token is not None

    def link(self, address: str) -> str:
        """The address that opens the page; to be shown to the page's own person alone."""
        return link(address, self.token)

    def fits(self, token: str) -> bool:
        """Whether this is the token."""
        return secrets.compare_digest(token.encode(), self.token.encode())

    def cookie(self, secure: bool) -> Mapping[str, str]:
        """The header that gives the browser the cookie."""
        kept = f"{self._name}={self._value}; Path=/; HttpOnly; SameSite=Strict"
        return {"Set-Cookie": f"{kept}; Secure" if secure else kept}

    def opened(self, cookie: str) -> bool:
        """Whether a header Cookie has the cookie."""
        value = cookie_parser(cookie).get(self._name, "")
        return secrets.compare_digest(value.encode(), self._value.encode())


def link(address: str, token: str, more: Mapping[str, str] | None = None) -> str:
    """The address with what opens its page, and whatever else its query has."""
    return f"{address.rstrip('/')}/?{urlencode({PARAMETER: token, **(more or {})})}"
