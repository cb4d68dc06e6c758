"""Security headers of every response: no type sniffing, loading, caching or referrer.

No response carries a CORS header, so pages of another origin cannot read any of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.paths import path_in_app

ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
_REDOC_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",  # empty; filled by script
    "'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='",  # of its scrollbar
)
"""The style elements that ReDoc adds to its page, by their hashes."""
DOCUMENTATION = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {' '.join(_REDOC_STYLES)}",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The policy of the documentation pages (web/documentation.py): only from this server."""
REFUSED = {**ALWAYS, "Content-Security-Policy": NOTHING, "Cache-Control": "no-store"}
"""Headers of a response that no browser may cache, as of one to malformed HTTP."""


def _raw(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


_GUARDED = _raw(REFUSED)
_CACHEABLE = _raw({**ALWAYS, "Content-Security-Policy": NOTHING})
_PAGE = _raw({**ALWAYS, "Content-Security-Policy": DOCUMENTATION})


class SecurityHeaders:
    """ASGI middleware that adds the headers to all responses, including errors.

    `pages` are the paths of the documentation pages and their files; they and `cacheable` contain
    no data of applications, so browsers may cache them.
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
        if path not in self.cacheable:
            own = _GUARDED
        else:
            own = _PAGE if path in self.pages else _CACHEABLE

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [h for h in message.get("headers", ()) if h[0].lower() not in own]
                message = {**message, "headers": [*others, *own.items()]}
            await send(message)

        await self.app(scope, receive, guarded_send)
