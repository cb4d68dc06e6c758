"""Requests for a name that is not this server's, and those of foreign pages, are refused.

Parties' clients send no Origin; of browsers, only pages of this server (its documentation) and of
its proxy's address may call. This is checked before anything else.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.problems import problem
from settings import Settings
from utils.errors import ForeignOrigin, TrisealError, UnknownHost
from utils.hosts import AllowedHosts


def hosts_of(settings: Settings) -> AllowedHosts:
    """The names by which the server of these settings may be called."""
    return AllowedHosts(settings.server_host, settings.server_url, settings.allowed_hosts)


class HostGuard:
    """ASGI middleware: 421 to a request for another host, 403 to one of a foreign origin."""

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
                "This server may not be called by that name: use the address that its operator "
                "gave, or have the operator add the name to TRISEAL_ALLOWED_HOSTS."
            )
        if not all(self.hosts.allows_origin(o, called) for o in headers.getlist("origin")):
            return ForeignOrigin(
                "A page of another origin may not call this server; where a proxy gives the server "
                "another address, the operator sets TRISEAL_SERVER_URL to it."
            )
        return None
