"""Direct transfer of large request bodies from the connection into the reader's memory.

uvicorn copies a body several times and passes it on in small pieces, each through every layer of
the app. A body that is long enough is read here instead, in pieces of PIECE_BYTES and with one
copy, once the reader asks for it. After the last byte of the body, the connection returns to its
protocol (service/http/connections.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from uvicorn._types import HTTPScope

    from service.http.connections import GuardedProtocol

PIECE_BYTES = 1 << 20
LARGE_BYTES = PIECE_BYTES // 2
"""Smallest declared length of a body that is offered for direct reading."""
_UNWANTED_BYTES = 1 << 16
_EXTENSION = "triseal.large_body"


class LargeBody(asyncio.BufferedProtocol):
    """The body of one request; iterates over the part that is left when its reader begins.

    At most one piece is read ahead. Raises ClientDisconnect if the connection is lost.
    """

    def __init__(self, connection: GuardedProtocol, scope: HTTPScope, length: int) -> None:
        self._connection = connection
        self._scope = scope
        self._length = length
        self._loop = asyncio.get_running_loop()
        self._left = 0  # bytes that have not arrived
        self._begun = self._lost = self._unwanted = False
        self._early = b""  # bytes that had arrived when the reader began
        self._ready: bytearray | None = None
        self._filling = bytearray()
        self._filled = 0
        self._waiting: asyncio.Future[None] | None = None
        self._heard = 0.0
        cast(dict[str, Any], scope).setdefault("extensions", {})[_EXTENSION] = self

    def begin(self) -> bool:
        """Take over the connection for the rest of the body.

        Returns False if the whole body has arrived or the client has disconnected.
        """
        connection = self._connection
        cycle = connection.cycle
        if cycle.scope is not self._scope or cycle.disconnected or not cycle.more_body:
            return False
        if cycle.waiting_for_100_continue:  # uvicorn confirms it when a body is first received
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False
        self._early, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()
        self._left = self._length - connection.body_bytes
        self._begun, self._heard = True, self._loop.time()
        self._next_buffer(PIECE_BYTES)
        connection.transport.set_protocol(self)
        connection.flow.resume_reading()
        return True

    def leave(self) -> None:
        """Stop reading and discard the rest of the body as it arrives."""
        if not self._begun or self._unwanted or not self._left:
            return
        self._unwanted = True
        self._ready = None
        self._next_buffer(_UNWANTED_BYTES)
        self._connection.flow.resume_reading()

    def heard(self) -> float:
        """Return when data arrived last, in seconds of the event loop's clock."""
        return self._heard

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | bytearray:
        if self._early:
            early, self._early = self._early, b""
            return early
        while self._ready is None:
            if self._lost:
                raise ClientDisconnect
            if not self._left:
                raise StopAsyncIteration
            self._waiting = self._loop.create_future()
            await self._waiting
        piece, self._ready = self._ready, None
        if self._left and not self._lost:
            self._next_buffer(PIECE_BYTES)
            self._connection.flow.resume_reading()
        return piece

    # Callbacks of the transport.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for the next bytes."""
        return memoryview(self._filling)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Account for `nbytes` bytes written to the buffer."""
        self._heard = self._loop.time()
        self._filled += nbytes
        self._left -= nbytes
        if self._unwanted:
            self._connection.heard_something()
            self._next_buffer(_UNWANTED_BYTES)
        elif self._filled == len(self._filling):
            self._ready, self._filling = self._filling, bytearray()
            self._connection.flow.pause_reading()  # until the reader takes this piece
            self._wake()
        if not self._left:
            self._connection.transport.set_protocol(self._connection)
            self._connection.body_was_read()
            self._connection.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the reader, which raises ClientDisconnect, and notify the protocol."""
        self._lost = True
        self._wake()
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass on that the client is not reading the response."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client reads the response again."""
        self._connection.resume_writing()

    def _next_buffer(self, size: int) -> None:
        self._filling, self._filled = bytearray(min(size, self._left)), 0

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def large_body_of(scope: Mapping[str, Any]) -> LargeBody | None:
    """Return the request's large body; None if it is small or the server does not offer it."""
    body: LargeBody | None = scope.get("extensions", {}).get(_EXTENSION)
    return body
