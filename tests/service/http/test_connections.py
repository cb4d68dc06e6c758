"""Abusive connections: real sockets to a small application behind the server's protocol."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import uvicorn

from web.connections import HEAD_BYTES, guarded
from web.security_headers import NOTHING

SILENCE = 0.4
LARGE = 16 << 20
WAIT = 20.0
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Echoes its path; `/slow` with a delay, `/large` at length, `/early` before reading the body.

    `/busy` too has no need of the body, and lets nothing be read meanwhile.
    """
    path = scope["path"].strip("/")
    if path == "slow":
        await asyncio.sleep(3 * SILENCE)
    elif path == "busy":
        time.sleep(SILENCE)
    elif path == "post":
        while (await receive())["more_body"]:
            pass
    body = bytes(LARGE) if path == "large" else path.encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., tuple[uvicorn.Server, int]]]:
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def begin(most: int | None = None) -> tuple[uvicorn.Server, int]:
        protocol = guarded(SILENCE)
        if most is not None:
            protocol.most = most
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(application, http=protocol, lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        running.append((server, thread))
        return server, listener.getsockname()[1]

    yield begin
    for server, thread in running:
        server.should_exit = True
        thread.join(WAIT)


@pytest.fixture(scope="module")
def served(start: Callable[..., tuple[uvicorn.Server, int]]) -> tuple[uvicorn.Server, int]:
    return start()


@pytest.fixture
def connect(served: tuple[uvicorn.Server, int]) -> Callable[[], Any]:
    return lambda: closing(socket.create_connection(("127.0.0.1", served[1]), timeout=WAIT))


def ended(connection: socket.socket) -> bytes:
    """Return all data until the server closes the connection, which it must do."""
    received = b""
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return received


def answered(connection: socket.socket, content: bytes) -> bool:
    """Return True if a response with this content arrives before the connection closes."""
    received = b""
    while not received.endswith(b"\r\n\r\n" + content):
        piece = connection.recv(1 << 16)
        if not piece:
            return False
        received += piece
    return True


def test_request_pipelined_after_a_body_is_handled(connect: Callable[[], Any]) -> None:
    rest = bytes(HEAD_BYTES + 30_000)
    with connect() as connection:
        head = b"POST /busy HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(rest) + 1)
        connection.sendall(head + b"x")
        time.sleep(SILENCE / 4)
        connection.sendall(rest + GET % b"next")
        assert answered(connection, b"next")


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", b"GET / HT", GET[:-2] % b"x", b"POST /x HTTP/1.1\r\nContent-Le"]
)
def test_incomplete_head_is_cut_off(connect: Callable[[], Any], sent: bytes) -> None:
    with connect() as connection:
        connection.sendall(sent)
        assert ended(connection) == b""


def test_slow_head_is_cut_off(connect: Callable[[], Any]) -> None:
    with connect() as connection:
        connection.settimeout(SILENCE / 8)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(400):
            try:
                connection.sendall(b"X: y\r\n")
                assert connection.recv(1) == b""
                break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            pytest.fail("the head went on and on")


def test_blank_lines_do_not_keep_a_connection_open(connect: Callable[[], Any]) -> None:
    with connect() as connection:
        connection.sendall(GET % b"x")
        assert answered(connection, b"x")
        connection.settimeout(SILENCE / 8)
        for _ in range(400):
            try:
                connection.sendall(b"\r\n")
                assert connection.recv(1) == b""
                break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            pytest.fail("blank lines kept the connection")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 4 * HEAD_BYTES,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 4 * HEAD_BYTES,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * HEAD_BYTES,
        b"POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
        + b"X: y\r\n" * HEAD_BYTES,
        b"POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;"
        + b"x" * 4 * HEAD_BYTES,
        GET % b"slow" * 4000,
    ],
    ids=["path", "one header", "many headers", "trailers", "chunk extension", "pipelined"],
)
def test_endless_head_is_cut_off(connect: Callable[[], Any], head: bytes) -> None:
    with connect() as connection:
        try:
            connection.sendall(head)
        except (ConnectionResetError, BrokenPipeError):
            return
        assert b"200 OK" not in ended(connection)


POST = b"POST /post HTTP/1.1\r\nHost: x\r\n"
DOUBTFUL = {
    "two kinds": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two kinds, swapped": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list": b"Content-Length: 5, 5\r\n\r\nhello",
    "a sign": b"Content-Length: +5\r\n\r\nhello",
    "another coding": b"Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n",
    "a later coding": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a space": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"X: a\r\n b\r\nContent-Length: 1\r\n\r\nx",
    "a zero byte": b"X: a\0b\r\nContent-Length: 1\r\n\r\nx",
    "a chunk's prefix": b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk's end": b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("rest", DOUBTFUL.values(), ids=DOUBTFUL)
def test_ambiguous_body_length_is_refused(connect: Callable[[], Any], rest: bytes) -> None:
    with connect() as connection:
        connection.sendall(POST + rest)
        answer = ended(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    head, _, body = answer.partition(b"\r\n\r\n")
    said = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert said[b"content-type"] == b"application/problem+json"
    assert said[b"content-security-policy"] == NOTHING.encode()
    assert int(said[b"content-length"]) == len(body), "nothing is taken for a next request"
    assert json.loads(body)["type"] == "urn:triseal:error:invalid-request"


def test_unwanted_body_is_cut_off(connect: Callable[[], Any]) -> None:
    with connect() as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nhalf")
        assert ended(connection).endswith(b"early")


def test_an_unread_response_is_dropped(
    served: tuple[uvicorn.Server, int], connect: Callable[[], Any]
) -> None:
    server, _ = served
    with connect() as connection:
        connection.sendall(GET % b"large")
        assert connection.recv(1)
        own = connection.getsockname()
        wait_until(lambda: own not in [c.client for c in server.server_state.connections])
        assert len(ended(connection)) < LARGE


def test_a_client_waiting_for_a_response_is_not_cut_off(connect: Callable[[], Any]) -> None:
    with connect() as connection:
        for _ in range(2):
            connection.sendall(GET % b"slow")
            assert answered(connection, b"slow")


def test_bodies_in_small_chunks_are_accepted(connect: Callable[[], Any]) -> None:
    with connect() as connection:
        connection.sendall(
            b"POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"400\r\n%s\r\n" % bytes(1024) * 2000
            + b"0\r\n\r\n"
        )
        assert answered(connection, b"post")


def test_longest_idle_connection_is_closed_when_full_and_logged(
    start: Callable[..., tuple[uvicorn.Server, int]], caplog: pytest.LogCaptureFixture
) -> None:
    server, port = start(most=8)
    idle = [socket.create_connection(("127.0.0.1", port), timeout=WAIT) for _ in range(30)]
    try:
        for _ in range(3):
            with closing(socket.create_connection(("127.0.0.1", port), timeout=WAIT)) as other:
                other.sendall(GET % b"x")
                assert answered(other, b"x"), "others are still answered"
        wait_until(lambda: len(server.server_state.connections) <= 8)
        assert caplog.text.count("all 8 connections were in use") == 1, "once a minute, not each"
        assert "raise the number of files" in caplog.text
    finally:
        for connection in idle:
            connection.close()


def wait_until(true: Callable[[], bool]) -> None:
    gone = threading.Event()
    for _ in range(400):
        if true():
            return
        gone.wait(WAIT / 400)
    pytest.fail("it never came to that")
