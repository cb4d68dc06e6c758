"""Changes to the HTML documents that Gradio serves.

Addresses of its makers' hosts are removed: they are in tags for link previews and in example files
of its API's description, and no page of a privacy product should name a foreign host.

A script is added that ends hidden clocks. Each of Gradio's notices of a pending event counts
seconds in an animation loop, also while it is hidden, and that of the loading page for ever: an
idle page drew 60 frames a second.
"""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TAG = re.compile(rb"""\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>""")
_EXAMPLE = re.compile(rb"https://(?:github|raw\.githubusercontent)\.com/gradio-app/[^\"\\\s]*")
_HEAD = b"<head>"
_SCRIPT = rb"""<script>
{
  const ask = requestAnimationFrame.bind(window);
  const clock = /^\(\)=>\{[^{}]*performance\.now\(\)-[^{}]*\/1e3/;
  const shown = '[data-testid="status-tracker"]:not(.hide)';
  window.requestAnimationFrame = (draw) =>
    clock.test(draw) && !document.querySelector(shown) ? 0 : ask(draw);
}
</script>"""
"""First in the document, since Gradio's modules keep the function that they find at first."""


class GradioDocument:
    """ASGI middleware that makes these changes in HTML documents."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def edited_send(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                content_type = MutableHeaders(scope=message).get("content-type", "")
                if content_type.startswith("text/html"):
                    start = message  # held back until the length of the document is known
                    return
            elif start is not None:
                body += message.get("body", b"")
                if message.get("more_body"):
                    return
                body = _EXAMPLE.sub(b"", _TAG.sub(b"", body))
                body = body.replace(_HEAD, _HEAD + _SCRIPT, 1)
                MutableHeaders(scope=start)["content-length"] = str(len(body))
                await send(start)
                message = {**message, "body": body}
            await send(message)

        await self.app(scope, receive, edited_send)
