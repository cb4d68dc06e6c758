"""Rejection of requests for a foreign host name or from web pages of another origin.

Programs send no Origin header. Of web pages, only those of the service itself (its documentation)
and of its proxy's address may call it. This is checked before anything else.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from utils.errors import ForeignOrigin, TrisealError, UnknownHost
from utils.hosts import AllowedHosts
from web.problems import problem


class HostGuard:
    """ASGI middleware: responds 421 to another host name, and 403 to a foreign origin.

    `unknown_host` and `foreign_origin` are the messages of the two errors.
    """

    def __init__(
        self, app: ASGIApp, hosts: AllowedHosts, unknown_host: str, foreign_origin: str
    ) -> None:
        self.app = app
        self.hosts = hosts
        self.unknown_host = unknown_host
        self.foreign_origin = foreign_origin

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
            return UnknownHost(self.unknown_host)
        if not all(self.hosts.allows_origin(o, called) for o in headers.getlist("origin")):
            return ForeignOrigin(self.foreign_origin)
        return None
