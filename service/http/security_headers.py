"""Security headers of every response: no type sniffing, loading, caching or referrer.

No response carries a CORS header, so pages of another origin cannot read any of them.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.paths import path_in_app

ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
DOCUMENTATION = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The policy of the documentation page (service/api/documentation.py): only from this server."""
REFUSED = {**ALWAYS, "Content-Security-Policy": NOTHING, "Cache-Control": "no-store"}
"""Headers of the response to malformed HTTP, which never reaches the app."""


class SecurityHeaders:
    """ASGI middleware that adds the headers to all responses, including errors.

    `pages` are the paths of the documentation page and its files; they and `cacheable` contain no
    data of applications, so browsers may cache them.
    """

    def __init__(
        self, app: ASGIApp, pages: Collection[str | None], cacheable: Collection[str | None] = ()
    ) -> None:
        self.app = app
        self.pages = frozenset(pages)
        self.cacheable = frozenset(cacheable) | self.pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = path_in_app(scope)

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(ALWAYS)
                headers["Content-Security-Policy"] = (
                    DOCUMENTATION if path in self.pages else NOTHING
                )
                if path not in self.cacheable:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self.app(scope, receive, guarded_send)
