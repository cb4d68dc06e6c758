"""Bounds on every request body: how many bytes come, and how slowly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.paths import path_in_app
from service.http.problems import problem
from utils.errors import TrisealError, UploadTooLarge, UploadTooSlow

SMALL_BODY = 64 * 1024
"""Bytes of a body without a file, and of all that a form has around its file."""

T = TypeVar("T")


@dataclass(frozen=True)
class Pace:
    """Seconds that a sender may be silent (`stall`), and take in all (`total`)."""

    stall: float
    total: float

    def begin(self) -> Patience:
        """Start the clock; to be called in the event loop."""
        return Patience(self)


class Patience:
    """Waits for one sender, and for no longer than its pace allows."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._end = asyncio.get_running_loop().time() + pace.total

    async def wait(self, coming: Awaitable[T]) -> T:
        """What comes; raises UploadTooSlow where it does not come in time."""
        left = self._end - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(self._pace.stall, left)):
                return await coming
        except TimeoutError as error:
            raise self._too_slow() from error

    async def wait_while(self, coming: Awaitable[T], heard: Callable[[], float]) -> T:
        """What comes bit by bit; `heard` is when a bit of it came last, by the event loop's clock.

        Raises UploadTooSlow where it does not come in time.
        """
        now = asyncio.get_running_loop().time
        task = asyncio.ensure_future(coming)
        try:
            while (left := min(heard() + self._pace.stall, self._end) - now()) > 0:
                if (await asyncio.wait({task}, timeout=left))[0]:
                    return task.result()
            raise self._too_slow()
        finally:
            task.cancel()

    def _too_slow(self) -> UploadTooSlow:
        return UploadTooSlow(
            f"The rest of the request did not come: nothing for {self._pace.stall:g} s, or not "
            f"all within {self._pace.total:g} s. Nothing was stored; send it again."
        )


class BodyLimit:
    """ASGI middleware: 413 to a body of more than `limit_of(path)` bytes, 408 to one too slow.

    It goes by Content-Length where there is one, and by the bytes that come in any case; what is
    read past it (service/http/large_bodies.py) has a length. Where `pace_of(path)` is None, whoever
    reads the body sees to its pace.
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
        # Of a number with so many digits only the length matters; int() refuses very long ones.
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
                if patience is None or complete:  # what follows a whole body is a farewell
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
                return  # body parsers answer the fault in their own words; ours comes below
            started = True
            await send(message)

        try:
            await self.app(scope, bounded_receive, guarded_send)
        except TrisealError as error:
            if error is not fault:
                raise
        if fault is not None and not started:
            await problem(fault)(scope, receive, send)
