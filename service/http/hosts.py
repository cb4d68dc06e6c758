"""Rejection of requests for a foreign host name or from web pages of another origin.

Parties' clients send no Origin header. Of web pages, only those of this server (its documentation)
and of its proxy's address may call it. This is checked before anything else.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.problems import problem
from settings import Settings
from utils.errors import ForeignOrigin, TrisealError, UnknownHost
from utils.hosts import AllowedHosts


def hosts_of(settings: Settings) -> AllowedHosts:
    """Return the host names under which a server with these settings may be addressed."""
    return AllowedHosts(settings.server_host, settings.server_url, settings.allowed_hosts)


class HostGuard:
    """ASGI middleware: responds 421 to another host name, and 403 to a foreign origin."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        fault = self._fault(Headers(scope=scope))
        if fault is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await problem(fault)(scope, receive, send)

    def _fault(self, headers: Headers) -> TrisealError | None:
        given = headers.getlist("host")
        called = self.hosts.named(given[0]) if len(given) == 1 else None
        if called is None:
            return UnknownHost(
                "This server does not accept requests for that host name: use the address from its "
                "operator, or ask the operator to add the name to TRISEAL_ALLOWED_HOSTS."
            )
        if not all(self.hosts.allows_origin(o, called) for o in headers.getlist("origin")):
            return ForeignOrigin(
                "A page of another origin may not call this server. If the server has another "
                "address behind a proxy, the operator must set TRISEAL_SERVER_URL to it."
            )
        return None
