"""Time of each HTTP call as seen by its caller, from the request to the end of the response."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx

RUN, LONG_POLL, UPLOAD = "run_fhe", "messages, waiting", "send_file"
WAITING_EXCHANGE = "exchange, waiting"
EVENTS = "events"
SESSION_POLL = "session messages, waiting"
UNJUDGED = (RUN, LONG_POLL, WAITING_EXCHANGE, EVENTS, SESSION_POLL)
"""Kinds of calls without a target, because they wait for something else."""
_ID = re.compile(r"/applications/[0-9a-f]{32}")
_SESSION = re.compile(r"/sessions/[0-9a-f]{32}")
_CONSENT = re.compile(r"/consents/.+")
_PROGRAM = re.compile(r"/runs/[a-z_]+")
_SLOT = re.compile(r"/slots/[a-z_]+")
_KINDS = {
    "POST /applications": "open",
    "POST /applications/{id}/join": "join",
    "GET /applications/{id}": "state",
    "DELETE /applications/{id}": "erase",
    "POST /applications/{id}/messages": "messages, post",
    "GET /applications/{id}/messages": "messages, get",
    "POST /applications/{id}/exchange": "exchange",
    "GET /applications/{id}/traffic": "traffic",
    "POST /applications/{id}/permits": "permits",
    "GET /applications/{id}/events": EVENTS,
    "POST /applications/{id}/runs/{program}": "run, ask",
    "GET /applications/{id}/runs/{program}": "run, look",
    "PUT /applications/{id}/slots/{name}": UPLOAD,
    "POST /send_file": UPLOAD,
    "POST /run_fhe": RUN,
    "POST /get_output": "get_output",
    "GET /health": "health",
    "POST /sessions": "session, host",
    "POST /sessions/{id}/connect": "session, connect",
    "GET /sessions/{id}": "session, state",
    "DELETE /sessions/{id}": "session, close",
    "POST /sessions/{id}/messages": "session messages, post",
    "GET /sessions/{id}/messages": "session messages, get",
    "POST /sessions/{id}/events": "session events",
    "POST /sessions/{id}/uses": "session uses",
    "PUT /consents/{id}": "consents",
    "POST /authorize": "authorize",
    "POST /authorize/use": "authorize, use",
    "GET /logs": "logs",
    "GET /log": "log",
}


@dataclass(frozen=True)
class Call:
    """One call: its kind, its status (0 without a response), and its seconds."""

    kind: str
    status: int
    seconds: float


_KEPT_SECONDS = 2.0


class TimedTransport(httpx.BaseTransport):
    """A transport that times each request and chooses the server: one, or each in turn.

    `stay_at` sets the server of the current application, whose threads may share the transport.
    """

    def __init__(self, urls: Sequence[str], note: Callable[[Call], None]) -> None:
        self._servers = [httpx.URL(url) for url in urls]
        self._note = note
        # The server may close a connection that was idle for longer.
        limits = httpx.Limits(keepalive_expiry=_KEPT_SECONDS)
        self._inner = httpx.HTTPTransport(trust_env=False, limits=limits)
        self._home: int | None = 0
        self._next = 0

    def stay_at(self, server: int | None) -> None:
        """Send all requests to the server of this number (modulo all), or to each in turn."""
        self._home = server

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; its time ends when the response has been read and closed."""
        self._aim(request)
        kind, start = kind_of(request), time.perf_counter()
        try:
            response = self._inner.handle_request(request)
        except httpx.HTTPError:
            self._note(Call(kind, 0, time.perf_counter() - start))
            raise
        status = response.status_code

        def read() -> None:
            self._note(Call(kind, status, time.perf_counter() - start))

        stream = _Watched(response.stream, read)
        return httpx.Response(
            status, headers=response.headers, stream=stream, extensions=response.extensions
        )

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()

    def _aim(self, request: httpx.Request) -> None:
        number = self._home
        if number is None:
            self._next += 1
            number = self._next
        server = self._servers[number % len(self._servers)]
        request.url = request.url.copy_with(host=server.host, port=server.port)
        request.headers["Host"] = server.netloc.decode()


class _Watched(httpx.SyncByteStream):
    """The body of a response; reports its end."""

    def __init__(self, stream: object, read: Callable[[], None]) -> None:
        if not isinstance(stream, httpx.SyncByteStream):
            raise TypeError("A synchronous transport must return synchronous streams.")
        self._stream = stream
        self._read = read

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        self._stream.close()
        self._read()


def kind_of(request: httpx.Request) -> str:
    """Return a call's kind, without the id of the application."""
    path = _PROGRAM.sub("/runs/{program}", _ID.sub("/applications/{id}", request.url.path))
    path = _SLOT.sub("/slots/{name}", path)
    path = _CONSENT.sub("/consents/{id}", _SESSION.sub("/sessions/{id}", path))
    kind = _KINDS.get(f"{request.method} {path}", f"{request.method} {path}")
    if kind == UPLOAD:
        megabytes = int(request.headers.get("content-length", 0)) / 1e6
        return f"{UPLOAD}, {megabytes:.1g} MB"
    if kind == "authorize" and b'"requested_data"' in request.read():
        return f"{kind}, named fields"
    if kind == "exchange" and json.loads(request.read()).get("wait"):
        return WAITING_EXCHANGE
    if float(request.url.params.get("wait", 0)) > 0:
        return {"messages, get": LONG_POLL, "session messages, get": SESSION_POLL}.get(kind, kind)
    return kind
