"""Request bodies over sockets, on both event loops: complete, abandoned, cut off, read slowly."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn

from web.connections import guarded

MIB = 1 << 20
SILENCE = 2.0
WAIT = 20.0
GET = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


class Reader:
    """Reads a body; responds with its SHA-256 and its size.

    `/early` responds after the first piece; `/slow` takes pieces one by one when it is told to.
    """

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.lost = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].strip("/")
        answer = b"next" if path == "next" else await self._read(receive, path)
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _read(self, receive: Any, path: str) -> bytes:
        found, size, more = hashlib.sha256(), 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.lost.set()
                return b"lost"
            if path == "early":
                return b"early"
            if path == "slow":
                await asyncio.to_thread(self.go_on.wait)
            found.update(message["body"])
            size += len(message["body"])
            more = message["more_body"]
        return f"{found.hexdigest()} {size}".encode()


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def port(request: pytest.FixtureRequest, reader: Reader) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        reader, http=guarded(SILENCE), loop=request.param, lifespan="off", log_level="critical"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(WAIT)


@pytest.fixture
def connect(port: int) -> Callable[[], Any]:
    return lambda: closing(socket.create_connection(("127.0.0.1", port), timeout=WAIT))


def content(size: int) -> bytes:
    """Return a body in which no two sections are alike."""
    return hashlib.shake_128(str(size).encode()).digest(size)


def answer(connection: socket.socket) -> bytes:
    """Return the content of the next response; no data of a further one may have arrived."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(1)
        assert piece, received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(length - len(body))
    return body


def answer_to(body: bytes) -> bytes:
    return f"{hashlib.sha256(body).hexdigest()} {len(body)}".encode()


@pytest.mark.parametrize("size", [1, MIB, 5 * MIB + 77_777])
def test_body_arrives_and_the_connection_stays_usable(
    connect: Callable[[], Any], size: int
) -> None:
    body = content(size)
    with connect() as connection:
        for _ in range(2):
            connection.sendall(HEAD % (b"x", size) + body + GET)
            assert answer(connection) == answer_to(body)
            assert answer(connection) == b"next"


def test_body_is_sent_after_100_continue(connect: Callable[[], Any]) -> None:
    body = content(2 * MIB)
    with connect() as connection:
        head = HEAD % (b"x", len(body))
        connection.sendall(head.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        confirmed = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.recv(len(confirmed), socket.MSG_WAITALL) == confirmed
        connection.sendall(body + GET)
        assert answer(connection) == answer_to(body)
        assert answer(connection) == b"next"


def test_response_before_the_end_of_the_body(connect: Callable[[], Any]) -> None:
    body = content(6 * MIB)
    with connect() as connection:
        connection.sendall(HEAD % (b"early", len(body)) + body + GET)
        assert answer(connection) == b"early"
        assert answer(connection) == b"next", "the rest of the body is no request"


def test_unread_rest_of_a_body_is_not_awaited(connect: Callable[[], Any]) -> None:
    with connect() as connection:
        connection.sendall(HEAD % (b"early", 6 * MIB) + bytes(3 * MIB))
        assert answer(connection) == b"early"
        assert connection.recv(1) == b""


def test_reader_learns_that_the_sender_disconnected(
    connect: Callable[[], Any], reader: Reader
) -> None:
    reader.lost.clear()
    with connect() as connection:
        connection.sendall(HEAD % (b"x", 4 * MIB) + bytes(2 * MIB))
    assert reader.lost.wait(WAIT)


def test_slow_reader_applies_backpressure(connect: Callable[[], Any], reader: Reader) -> None:
    """Otherwise the arriving data would fill the server's memory."""
    reader.go_on.clear()
    body = content(64 * MIB)
    with connect() as connection:
        sender = threading.Thread(
            target=connection.sendall, args=(HEAD % (b"slow", len(body)) + body,)
        )
        sender.start()
        sender.join(SILENCE / 4)
        assert sender.is_alive(), "all was taken while nothing was read"
        reader.go_on.set()
        assert answer(connection) == answer_to(body)
        sender.join(WAIT)
