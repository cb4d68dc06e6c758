"""Large bodies over sockets, on both event loops: complete, abandoned, cut off, read slowly."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn
from starlette.requests import ClientDisconnect

from service.http.connections import guarded
from service.http.large_bodies import LARGE_BYTES, PIECE_BYTES, large_body_of

SILENCE = 2.0
WAIT = 20.0
GET = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


class Reader:
    """Reads a large body; responds with its SHA-256, its size, and the number of large pieces.

    `/early` takes one large piece and answers; `/slow` takes them one by one when it is told to;
    `/direct` takes over before it has received anything.
    """

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)
        self.lost = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].strip("/")
        answer = b"next" if path == "next" else await self._read(scope, receive, path)
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _read(self, scope: Any, receive: Any, path: str) -> bytes:
        found, size, large = hashlib.sha256(), 0, 0
        body = large_body_of(scope)
        if path != "direct":
            message = await receive()
            found.update(message["body"])
            size += len(message["body"])
        if body is not None and body.begin():
            try:
                async for piece in body:
                    if path == "slow":
                        await asyncio.to_thread(self.go_on.acquire)
                    found.update(piece)
                    size += len(piece)
                    large += len(piece) == PIECE_BYTES
                    if path == "early" and large:
                        return b"early"
            except ClientDisconnect:
                self.lost.set()
                raise
            finally:
                body.leave()
        else:
            while message["more_body"]:
                message = await receive()
                found.update(message["body"])
                size += len(message["body"])
        return f"{found.hexdigest()} {size} {large}".encode()


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


def answer_to(body: bytes) -> tuple[str, int]:
    return hashlib.sha256(body).hexdigest(), len(body)


def read(said: bytes) -> tuple[tuple[str, int], int]:
    digest, size, large = said.decode().split()
    return (digest, int(size)), int(large)


@pytest.mark.parametrize(
    "size", [LARGE_BYTES, PIECE_BYTES, 2 * PIECE_BYTES + 1, 5 * PIECE_BYTES + 77_777]
)
def test_large_body_arrives_and_the_connection_stays_usable(
    connect: Callable[[], Any], size: int
) -> None:
    body = content(size)
    with connect() as connection:
        for _ in range(2):
            connection.sendall(HEAD % (b"x", size) + body + GET)
            (found, _) = read(answer(connection))
            assert found == answer_to(body)
            assert answer(connection) == b"next"


def test_most_of_a_large_body_is_read_in_large_pieces(connect: Callable[[], Any]) -> None:
    body = content(8 * PIECE_BYTES)
    with connect() as connection:
        connection.sendall(HEAD % (b"x", len(body)) + body)
        found, large = read(answer(connection))
    assert found == answer_to(body)
    assert large >= 6


def test_reader_may_take_over_before_the_body(connect: Callable[[], Any]) -> None:
    body = content(2 * PIECE_BYTES)
    head = HEAD % (b"direct", len(body))
    with connect() as connection:
        connection.sendall(head.replace(b"Host", b"Expect: 100-continue\r\nHost"))
        confirmed = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.recv(len(confirmed), socket.MSG_WAITALL) == confirmed
        connection.sendall(body + GET)
        found, large = read(answer(connection))
        assert (found, large) == (answer_to(body), 2)
        assert answer(connection) == b"next"


def test_large_body_arrives_in_any_segmentation(connect: Callable[[], Any]) -> None:
    body = content(LARGE_BYTES + 5)
    with connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = HEAD % (b"x", len(body)) + body
        cuts = (10, len(sent) - len(body), 1, 1, 70_000, 3, 300_000, len(sent))
        start = 0
        for cut in cuts:
            connection.sendall(sent[start : start + cut])
            start += cut
            time.sleep(0.01)
        assert read(answer(connection))[0] == answer_to(body)


def test_a_reader_may_respond_before_the_end_of_the_body(connect: Callable[[], Any]) -> None:
    body = content(6 * PIECE_BYTES)
    with connect() as connection:
        connection.sendall(HEAD % (b"early", len(body)) + body + GET)
        assert answer(connection) == b"early"
        assert answer(connection) == b"next", "the rest of the body is no request"


def test_unread_rest_of_a_body_is_not_awaited(connect: Callable[[], Any]) -> None:
    with connect() as connection:
        connection.sendall(HEAD % (b"early", 6 * PIECE_BYTES) + bytes(3 * PIECE_BYTES))
        assert answer(connection) == b"early"
        assert connection.recv(1) == b""


def test_reader_raises_if_the_sender_disconnects(
    connect: Callable[[], Any], reader: Reader
) -> None:
    reader.lost.clear()
    with connect() as connection:
        connection.sendall(HEAD % (b"x", 4 * PIECE_BYTES) + bytes(2 * PIECE_BYTES))
    assert reader.lost.wait(WAIT)


def test_slow_reader_applies_backpressure(connect: Callable[[], Any], reader: Reader) -> None:
    """Otherwise the arriving data would fill the server's memory."""
    body = content(64 * PIECE_BYTES)
    with connect() as connection:
        sender = threading.Thread(
            target=connection.sendall, args=(HEAD % (b"slow", len(body)) + body,)
        )
        sender.start()
        sender.join(SILENCE / 4)
        assert sender.is_alive(), "all was taken while nothing was read"
        reader.go_on.release(100)
        found, _ = read(answer(connection))
        sender.join(WAIT)
    assert found == answer_to(body)
