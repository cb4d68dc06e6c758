"""What every answer tells a browser: guess no types, load nothing, keep nothing, name no referrer.

No answer carries a CORS header, so a page of another origin can read none of them.
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
"""The policy of the documentation page (service/api/documentation.py): this server alone."""
REFUSED = {**ALWAYS, "Content-Security-Policy": NOTHING, "Cache-Control": "no-store"}
"""What an answer has that comes from no app, to what was no request."""


class SecurityHeaders:
    """ASGI middleware that adds the headers to whatever is answered, errors included.

    `pages` are the paths of the documentation's page and what it loads; they and `cacheable` hold
    nothing of an application, so browsers may keep them.
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
