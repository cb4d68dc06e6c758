"""Limits on connections: idle ones, slow or oversized request heads, and unread responses.

uvicorn limits only the pause between two requests: a request head may take forever and have any
size, and a response that the client does not read stays in memory. Once a head is complete, the
application enforces the limits (web/body_limits.py) until it has responded.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import time

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from utils.errors import InvalidRequest
from web.problems import problem
from web.security_headers import REFUSED

logger = logging.getLogger("triseal.listening")

HEAD_BYTES = 64 * 1024
"""Maximum bytes of a request without its body; chunk framing may add as much as the body has."""
PIPELINED = 8
"""Maximum requests that may wait on one connection behind the one being handled."""
CONNECTIONS = 4096
WARNING_SECONDS = 60.0
LOOKS = 4
"""Number of checks of a connection within `silence` seconds."""


class Crowded:
    """Warns, at most once a minute, that connections are closed to make way for new ones."""

    def __init__(self) -> None:
        self._closed = 0
        self._last = -math.inf

    def told(self, most: int) -> None:
        """Count one more connection that is closed."""
        self._closed += 1
        now = time.monotonic()
        if now - self._last >= WARNING_SECONDS:
            logger.warning(
                "all %d connections were in use and %d of them were closed for new ones: raise "
                "the number of files that this process may open, or put a proxy in front",
                most,
                self._closed,
            )
            self._last, self._closed = now, 0


class GuardedProtocol(HttpToolsProtocol):
    """One connection, with limits.

    It is closed if the client does not send a complete request head within `silence` seconds of
    connecting or of the last response, and aborted if the client reads nothing of a response for
    that long. Beyond `most` connections, a new one replaces the one that has been idle longest.
    """

    silence = 20.0
    most = CONNECTIONS
    crowded: Crowded

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = time.monotonic()
        self._around = self._content = 0  # bytes of the request: outside its body, and inside
        self._bodies = 0  # bytes of bodies in the most recent data
        self._unsent = 0
        self._stuck: float | None = None
        self._watch = self.loop.call_later(self.silence / LOOKS, self._look)
        if len(self.connections) > self.most:
            self.crowded.told(self.most)
            known = (c for c in self.connections if isinstance(c, GuardedProtocol))
            idle = [c for c in known if not (c.serving or c.transport.is_closing())]
            min(idle, key=lambda connection: connection._since).transport.abort()  # or this one

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    @property
    def serving(self) -> bool:
        """True if a request whose head has arrived has no complete response yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        self._bodies = 0
        super().data_received(data)
        # If the data spans two requests, the bytes outside both bodies count.
        self._around += len(data) - self._bodies
        if self._around > HEAD_BYTES + self._content or len(self.pipeline) > PIPELINED:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._around = self._content = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._content += len(body)
        self._bodies += len(body)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Respond to malformed HTTP with a problem, like every other error, and disconnect."""
        answer = problem(InvalidRequest("The request is not valid HTTP; use an HTTP library."))
        more = [(name.encode(), value.encode()) for name, value in REFUSED.items()]
        headers = (*answer.raw_headers, *more, (b"Connection", b"close"))
        lines = (name + b": " + value for name, value in headers)
        head = (b"HTTP/1.1 400 Bad Request", *lines, b"")
        self.transport.write(b"\r\n".join((*head, bytes(answer.body))))
        self.transport.close()

    def on_response_complete(self) -> None:
        self._since = time.monotonic()
        super().on_response_complete()

    def _look(self) -> None:
        now, unsent = time.monotonic(), self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._stuck = None
        elif self._stuck is None:
            self._stuck = now
        self._unsent = unsent
        if self._stuck is not None and now - self._stuck > self.silence:
            self.transport.abort()
        elif not unsent and not self.serving and now - self._since > self.silence:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(self.silence / LOOKS, self._look)


def guarded(silence: float) -> type[GuardedProtocol]:
    """Return the protocol class for uvicorn's `http`, with `silence` in seconds.

    A quarter of the process's file descriptors is left for other uses than connections.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, files * 3 // 4)
    facts = {"silence": silence, "most": allowed, "crowded": Crowded()}
    return type("Guarded", (GuardedProtocol,), facts)
