"""A bound on every request body, counted while it arrives and before anything parses it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import problem
from utils.errors import UploadTooLarge

SMALL_BODY = 64 * 1024
"""Bytes of a body without a file, and of all that a form has around its file."""


class BodyLimit:
    """ASGI middleware that answers 413 to a body of more than `limit_of(path)` bytes.

    It goes by Content-Length where there is one, and by the bytes that come in any case.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self.app = app
        self.limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(scope["path"])
        fault = UploadTooLarge(
            f"The request is larger than the {limit} bytes allowed here; nothing was stored."
        )
        declared = Headers(scope=scope).get("content-length", "")
        # Of a number with so many digits only the length matters; int() refuses very long ones.
        if len(declared) > 18 or (declared.isdecimal() and int(declared) > limit):
            await problem(fault)(scope, receive, send)
            return
        received = 0
        exceeded = started = False

        async def bounded_receive() -> Message:
            nonlocal received, exceeded
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                exceeded = True
                raise fault
            return message

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if exceeded and not started:
                return  # body parsers answer the fault in their own words; ours comes below
            started = True
            await send(message)

        try:
            await self.app(scope, bounded_receive, guarded_send)
        except UploadTooLarge:
            if not exceeded:
                raise
        if exceeded and not started:
            await problem(fault)(scope, receive, send)
