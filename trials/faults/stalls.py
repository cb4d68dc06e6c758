"""Connections that stall, send slowly, or break off: they end, and others are served."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from random import Random

import httpx

from engines.interface import ENCRYPTED_INPUTS
from trials.faults.application import Application, Broken
from trials.faults.registry import fault
from trials.faults.world import World
from trials.servers import Server

CONNECTIONS = 12
CLOSE_SECONDS = 20.0
_BOUNDARY = "stall"


@fault("stall uploads", weight=20)
def stall(world: World, random: Random) -> str:
    """Stop half-way through uploads: they are ended, and others are served meanwhile."""
    server, application = world.server(random), _ready(world, random)
    with _connections(server, CONNECTIONS // 2) as lines:
        for i, line in enumerate(lines):
            party = application.parties[i % len(application.parties)]
            line.sendall(_half_an_upload(application, party, random))
        _others_are_served(world, random)
        world.checked("stalled connections end")
        if not all(_ends(line) for line in lines):
            raise Broken("stalled connections end", "a stalled upload is still open")
    application.erase()
    return "ended by the server"


@fault("drip headers", weight=10)
def drip(world: World, random: Random) -> str:
    """Send headers byte by byte (slow loris): others are still served."""
    with _connections(world.server(random), CONNECTIONS) as lines:
        for byte in b"GET /hea":
            for line in lines:
                with contextlib.suppress(OSError):
                    line.sendall(bytes([byte]))
            time.sleep(0.03)
        _others_are_served(world, random)
    return "others are served"


@fault("break off in the body", weight=30)
def break_off(world: World, random: Random) -> str:
    """Close connections during the body: the partial upload is discarded."""
    server, application = world.server(random), _ready(world, random)
    with _connections(server, 3) as lines:
        for line in lines:
            line.sendall(_half_an_upload(application, application.parties[0], random))
        time.sleep(random.random() * 0.05)
    for key in [k for k in application.content.messages if k[0] == application.parties[0]]:
        application.send(key)
    application.run()
    application.erase()
    return "answered"


@fault("send without reading", weight=15)
def deaf(world: World, random: Random) -> str:
    """Send many requests on a connection without reading the responses."""
    with _connections(world.server(random), 3) as lines:
        for line in lines:
            line.setblocking(False)
            with contextlib.suppress(BlockingIOError, OSError):
                for _ in range(200):
                    line.sendall(b"GET /model HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _others_are_served(world, random)
    return "others are served"


@fault("speak no HTTP", weight=15)
def nonsense(world: World, random: Random) -> str:
    """Send random bytes, endless headers and invalid numbers."""
    requests = [
        random.randbytes(3000),
        b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 100_000,
        b"POST /send_file HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9e99\r\n\r\n",
        b"POST /run_fhe HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\r\n\r\n\r\nHELLO\r\n\r\n",
    ]
    with _connections(world.server(random), len(requests)) as lines:
        for line, request in zip(lines, requests, strict=True):
            with contextlib.suppress(OSError):
                line.sendall(request)
        _others_are_served(world, random)
    return "others are served"


def _ready(world: World, random: Random) -> Application:
    """Open an application and send everything that a decision needs."""
    application = Application.filled(world, world.contents.draw(random))
    application.state()
    return application


def _others_are_served(world: World, random: Random) -> None:
    application = Application.filled(world, world.contents.draw(random))
    application.run()
    application.erase()


def _half_an_upload(application: Application, party: str, random: Random) -> bytes:
    """Return a valid request, cut off somewhere within its file."""
    fields = {
        "client_id": application.client_id,
        "client_type": party,
        "file_name": ENCRYPTED_INPUTS,
    }
    part = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{{}}"\r\n\r\n'
    parts = [part.format(name) + value + "\r\n" for name, value in fields.items()]
    start = ("".join(parts) + part.format("files")).encode()
    message = application.content.messages[party, ENCRYPTED_INPUTS]
    whole = len(start) + len(message) + len(_BOUNDARY) + 8
    head = (
        "POST /send_file HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {application.tokens[party]}\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {whole}\r\n\r\n"
    )
    return head.encode() + start + message[: random.randrange(1, len(message))]


@contextlib.contextmanager
def _connections(server: Server, count: int) -> Iterator[list[socket.socket]]:
    lines: list[socket.socket] = []
    try:
        for _ in range(count):
            lines.append(socket.create_connection(("127.0.0.1", server.port), CLOSE_SECONDS))
        yield lines
    finally:
        for line in lines:
            line.close()


def _ends(line: socket.socket) -> bool:
    """Return True if the server responds with an error or closes the connection."""
    line.settimeout(CLOSE_SECONDS)
    try:
        said = line.recv(4096)
    except TimeoutError:
        return False
    except OSError:
        return True
    return not said or httpx.codes.is_error(int(said.split(b" ")[1]))
