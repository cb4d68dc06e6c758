"""The secret that opens a page: first in the page's link, then in a browser cookie.

The link works as long as the process runs, also in a second browser or after the first one has
been restarted. The cookie ends with the browser session. Neither opens the page of another process.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from pydantic import SecretStr
from starlette.requests import cookie_parser

PARAMETER = "token"


class PageAccess:
    """The token and the cookie that open the page `name` at `port`.

    The token is random unless one is given. Browsers send a cookie to every port of a host, so
    the cookie's name distinguishes the pages on it. Its value is a digest of the token: a process
    that is started again with the same token opens to the same browsers.
    """

    def __init__(self, name: str, port: int, token: SecretStr | None = None) -> None:
        self.token = secrets.token_urlsafe(32) if token is None else token.get_secret_value()
        self._name = f"triseal-{name}-{port}"
        self._value = hmac.digest(self.token.encode(), self._name.encode(), "sha256").hex()
        self.given = token is not None

    def link(self, address: str) -> str:
        """Return the address that opens the page; show it only to the person whose page it is."""
        return link(address, self.token)

    def fits(self, token: str) -> bool:
        """Return True if `token` is the page's token."""
        return secrets.compare_digest(token.encode(), self.token.encode())

    def cookie(self, path: str, secure: bool) -> Mapping[str, str]:
        """Return the header that sets the cookie for `path`, and only over TLS if `secure`."""
        kept = f"{self._name}={self._value}; Path={path}; HttpOnly; SameSite=Strict"
        return {"Set-Cookie": f"{kept}; Secure" if secure else kept}

    def opened(self, cookie: str) -> bool:
        """Return True if the value of a `Cookie` header contains the page's cookie."""
        value = cookie_parser(cookie).get(self._name, "")
        return secrets.compare_digest(value.encode(), self._value.encode())


def link(address: str, token: str, more: Mapping[str, str] | None = None) -> str:
    """Return the address with the token and the parameters in `more` as its query."""
    return f"{address.rstrip('/')}/?{urlencode({PARAMETER: token, **(more or {})})}"


def bearer_fits(header: str, token: str) -> bool:
    """Return True if the value of an `Authorization` header is that of the bearer `token`."""
    return secrets.compare_digest(header.encode(), f"Bearer {token}".encode())
