"""Removal of the hosts of Gradio's makers that Gradio puts into a page.

They are in tags for link previews and in example files of its API's description. No page of a
privacy product should name a foreign host.
"""

from __future__ import annotations

import re

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TAG = re.compile(rb"""\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>""")
_EXAMPLE = re.compile(rb"https://(?:github|raw\.githubusercontent)\.com/gradio-app/[^\"\\\s]*")


class WithoutLinkPreviews:
    """ASGI middleware that removes preview tags and addresses of examples from HTML documents."""

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
                MutableHeaders(scope=start)["content-length"] = str(len(body))
                await send(start)
                message = {**message, "body": body}
            await send(message)

        await self.app(scope, receive, edited_send)
