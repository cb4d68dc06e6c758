"""Access control for a page.

A page is served only to a browser that has opened it with its link, under an allowed host name,
and for requests that come from the page itself. The guard wraps everything that Gradio serves:
pages, calls, event streams and files.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui import refusals
from ui.access import PARAMETER
from ui.places import Place
from utils.hosts import Authority

CONTENT = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'"
)
"""Gradio's pages use inline scripts and `eval`, and load nothing from other origins."""
ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_KEPT = ("/assets/", "/static/", "/svelte/")
"""Paths of Gradio's own files, which browsers may cache."""
_NAMED_BY_CONTENT = "/assets/"
"""Path of files whose names change with their content, so that browsers need not ask again."""
_FRAMES = ("iframe", "frame")


class PageGuard:
    """ASGI middleware that refuses every request except those of the opened page."""

    def __init__(self, app: ASGIApp, place: Place) -> None:
        self.app = app
        self.place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        called = self._called(headers)
        answer = self._answer(scope, headers, called)
        if scope["type"] == "websocket":
            if answer is None:
                await self.app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        content = CONTENT if answer is None else refusals.POLICY
        policy = self._policy(content, called)

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = message["status"] == 200
                _complete(MutableHeaders(scope=message), scope["path"], policy, found)
            await send(message)

        await (self.app if answer is None else answer)(scope, receive, guarded_send)

    def _called(self, headers: Headers) -> Authority | None:
        """Return the requested host if it is allowed and no header names another one."""
        given = headers.getlist("host")
        called = self.place.hosts.named(given[0]) if len(given) == 1 else None
        # Gradio builds addresses from this header.
        forwarded = ",".join(headers.getlist("x-forwarded-host"))
        also = [entry.strip() for entry in forwarded.split(",") if entry.strip()]
        return called if all(self.place.hosts.named(entry) for entry in also) else None

    def _answer(self, scope: Scope, headers: Headers, called: Authority | None) -> Response | None:
        """Return the response that replaces the page, or None if the request may pass."""
        if called is None:
            return refusals.unknown_host()
        if not all(self.place.hosts.allows_origin(o, called) for o in headers.getlist("origin")):
            return refusals.foreign_origin()
        goes = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        foreign = headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        framed = headers.get("sec-fetch-dest") in _FRAMES
        if foreign and not (goes and self._may_lead(headers, called)):
            return refusals.foreign_origin()
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        tokens = [value for name, value in query if name == PARAMETER]
        if goes and tokens and scope["path"] in ("", "/"):
            if not self.place.access.fits(tokens[-1]):
                return refusals.old_link(self.place.title)
            return self._opened(query, led=foreign and not framed)
        if not self.place.access.opened(headers.get("cookie", "")):
            return refusals.needs_link(self.place.title, self.place.address)
        if foreign and not framed:
            # A link on another port of this host sends the cookie, and may add a join code.
            return refusals.led_here(self.place.title)
        return None

    def _may_lead(self, headers: Headers, called: Authority) -> bool:
        """Return True if a page of another origin may navigate the browser to this page."""
        place = headers.get("sec-fetch-dest")
        return headers.get("sec-fetch-mode") == "navigate" and (
            place == "document" or (place in _FRAMES and bool(self.place.framed_by(called)))
        )

    def _opened(self, query: list[tuple[str, str]], led: bool) -> Response:
        """Set the cookie and redirect to the address without the token."""
        rest = urlencode([(name, value) for name, value in query if name != PARAMETER])
        target = f"./?{rest}" if rest else "./"
        cookie = self.place.cookie()
        if led:  # after a redirect, the browser would still treat the request as cross-site
            return refusals.opening(target, cookie)
        return RedirectResponse(target, 303, dict(cookie))

    def _policy(self, content: str, called: Authority | None) -> str:
        by = self.place.framed_by(called) if called else ()
        frames = self.place.frames(called) if called and content == CONTENT else ()
        parts = [content, f"frame-ancestors {' '.join(by) or chr(39) + 'none' + chr(39)}"]
        if frames:
            parts.append(f"frame-src {' '.join(frames)}")
        return "; ".join(parts)


def _complete(headers: MutableHeaders, path: str, policy: str, found: bool) -> None:
    headers.update(ALWAYS)
    headers["Content-Security-Policy"] = policy
    if not path.startswith(_KEPT):
        headers["Cache-Control"] = "no-store"
    elif path.startswith(_NAMED_BY_CONTENT) and found:
        headers["Cache-Control"] = "private, max-age=31536000, immutable"
    for name in [name for name in headers if name.startswith("access-control-")]:
        del headers[name]  # Gradio allows every port of this machine
