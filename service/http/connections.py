"""Connections that send nothing, half a request or no end of one, or take no answer, are cut off.

uvicorn bounds only the pause between two requests: a head may take forever and have any size, and
an answer that nobody reads stays in memory. What follows a whole head is the application's matter
(service/http/body_limits.py), until it has answered.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import time

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.large_bodies import LARGE_BYTES, LargeBody
from service.http.problems import problem
from service.http.security_headers import REFUSED
from utils.errors import InvalidRequest

logger = logging.getLogger("triseal.listening")

HEAD_BYTES = 64 * 1024
"""Of a request all but its body; what is around the pieces of a body may have as much as it."""
PIPELINED = 8
"""Requests that one connection may have waiting behind the one that is answered."""
CONNECTIONS = 4096
WARNING_SECONDS = 60.0
LOOKS = 4
"""How often in the time of silence a connection is looked at."""


class Crowded:
    """Warns, at most once a minute, that connections are closed to make room for others."""

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
    """One connection. It is closed `silence` seconds after it was made or the last answer ended,
    unless it has sent the whole head of a request by then, and aborted where the other side takes
    nothing of an answer for so long. Beyond `most` connections, a new one takes the place of the
    one that has waited longest.
    """

    silence = 20.0
    most = CONNECTIONS
    crowded: Crowded

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._since = time.monotonic()
        self._around = self._content = 0  # bytes of the request: outside of its body, and inside
        self._bodies = 0  # bytes of bodies in the data that has come last
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
        """Whether a request whose head is there has no whole answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        self._bodies = 0
        super().data_received(data)
        # Of the data that ends one request and begins the next, what is around both counts.
        self._around += len(data) - self._bodies
        if self._around > HEAD_BYTES + self._content or len(self.pipeline) > PIPELINED:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._around = self._content = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        length = next((int(v) for name, v in self.headers if name == b"content-length"), 0)
        if length >= LARGE_BYTES:
            LargeBody(self, self.scope, length)

    def on_body(self, body: bytes) -> None:
        self._content += len(body)
        self._bodies += len(body)
        super().on_body(body)

    @property
    def body_bytes(self) -> int:
        """How much of the request's body has come this way."""
        return self._content

    def heard_something(self) -> None:
        """The other side has sent more of a body that is answered already."""
        self._unset_keepalive_if_required()

    def body_was_read(self) -> None:
        """The rest of the body went another way; what comes now is the next request."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        self.on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Say that this is no request, as every other error is said; then the connection ends."""
        answer = problem(InvalidRequest("This is not HTTP as it should be; use an HTTP library."))
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
    """The protocol with these seconds of silence, for uvicorn's `http`.

    A quarter of the files that the process may have open is left for what is no connection.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = CONNECTIONS if files == resource.RLIM_INFINITY else min(CONNECTIONS, files * 3 // 4)
    facts = {"silence": silence, "most": allowed, "crowded": Crowded()}
    return type("Guarded", (GuardedProtocol,), facts)
