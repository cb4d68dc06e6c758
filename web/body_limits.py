"""Limits on the size and the transfer time of request bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from utils.errors import TrisealError, UploadTooLarge, UploadTooSlow
from web.paths import path_in_app
from web.problems import problem

SMALL_BODY = 64 * 1024
"""Maximum bytes of a body without a file, and of a form without its file."""

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """The longest pause of a sender (`stall`) and its time in all (`total`), in seconds."""

    stall: float
    total: float

    def begin(self) -> Patience:
        """Start the clock; must be called in the event loop."""
        return Patience(self)


class Patience:
    """Waits for data from one sender within the limits of its pace."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._end = asyncio.get_running_loop().time() + pace.total

    async def wait(self, coming: Awaitable[T]) -> T:
        """Await `coming` and return its result; raises UploadTooSlow if it takes too long."""
        left = self._end - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(self._pace.stall, left)):
                return await coming
        except TimeoutError as error:
            raise self._too_slow() from error

    def _too_slow(self) -> UploadTooSlow:
        return UploadTooSlow(
            f"The request did not arrive completely: no data for {self._pace.stall:g} s, or not "
            f"everything within {self._pace.total:g} s. Nothing was stored; send it again."
        )


class BodyLimit:
    """ASGI middleware: responds 413 to a body over `limit_of(path)` bytes, 408 to a slow one.

    It checks Content-Length, if given, and counts the bytes that arrive. If `pace_of(path)` is
    None, the reader of the body enforces the time limits.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_of: Callable[[str], int],
        pace_of: Callable[[str], Pace | None],
    ) -> None:
        self.app = app
        self.limit_of = limit_of
        self.pace_of = pace_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = path_in_app(scope)
        limit = self.limit_of(path)
        too_large = UploadTooLarge(
            f"The request is larger than the {limit} bytes allowed here; nothing was stored."
        )
        declared = Headers(scope=scope).get("content-length", "")
        # Numbers this long are too large in any case, and int() rejects very long ones.
        if len(declared) > 18 or (declared.isdecimal() and int(declared) > limit):
            await problem(too_large)(scope, receive, send)
            return
        pace = self.pace_of(path)
        patience = None if pace is None else pace.begin()
        received = 0
        complete = started = False
        fault: TrisealError | None = None

        async def bounded_receive() -> Message:
            nonlocal received, complete, fault
            try:
                if patience is None or complete:  # only a disconnect can follow a complete body
                    message = await receive()
                else:
                    message = await patience.wait(receive())
                received += len(message.get("body", b""))
                if received > limit:
                    raise too_large
            except (UploadTooLarge, UploadTooSlow) as error:
                fault = error
                raise
            complete = not message.get("more_body", False)
            return message

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if fault is not None and not started:
                return  # discard the body parser's own error response; the problem is sent below
            started = True
            await send(message)

        try:
            await self.app(scope, bounded_receive, guarded_send)
        except TrisealError as error:
            if error is not fault:
                raise
        if fault is not None and not started:
            await problem(fault)(scope, receive, send)
