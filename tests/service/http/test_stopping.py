"""SIGTERM during calls: each gets its own response, or one after which clients try again."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY
from parties.client import ServerClient
from parties.retrying import may_pass
from tests.service.applications.test_slow_uploads import (
    answer_of,
    arriving,
    connected,
    half_sent,
    request,
    until,
)
from tests.service.driver import Application, Server, refused
from tests.service.http.test_upload_form import KIND, body_of
from trials.stand_in import message
from utils.child_process import START_SECONDS
from utils.errors import TrisealError
from web.security_headers import NOTHING


def half_of_a_large_file(application: Application) -> bytes:
    """Return a form that stops within a large file."""
    values = (application.client_id, application.parties[0], EVALUATION_KEY)
    body = body_of(bytes(2 << 20))
    for name, value in zip(("client_id", "client_type", "file_name"), values, strict=True):
        body = body.replace(f"value of {name}".encode(), value.encode())
    return request(application, "/send_file", body[: len(body) // 2], len(body), KIND)


ASK = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def answered_until_closed(kept: socket.socket) -> bytes:
    """Return what the server sends to an open connection, on which it is asked again and again."""
    received = b""
    with suppress(ConnectionError):
        while True:
            with suppress(BrokenPipeError):
                kept.sendall(ASK)
            piece = kept.recv(1 << 16)
            if not piece:
                break
            received += piece
    return received


def stopping(answer: httpx.Response) -> None:
    refused(answer, 503, "server-stopping")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-security-policy"] == NOTHING
    assert answer.headers["cache-control"] == "no-store"


def test_active_calls_get_server_stopping(
    start: Callable[..., Server],
) -> None:
    server = start(stall_timeout=3600, upload_timeout=3600).wait()
    application = server.joined()
    path = f"/applications/{application.client_id}"
    form = "application/x-www-form-urlencoded"
    under_way = {
        "upload": half_sent(application),
        "its fields": half_sent(application, fields=False),
        "large upload": half_of_a_large_file(application),
        "form": request(application, "/run_fhe", b"client_id=", 80, form),
        "json": request(application, f"{path}/messages", b'{"step"', 80, "application/json"),
    }
    with ExitStack() as held:
        connections = {name: held.enter_context(connected(server)) for name in under_way}
        for name, sent in under_way.items():
            connections[name].sendall(sent)
        until(lambda: len(arriving(server)) == 2)
        idle = held.enter_context(connected(server))
        idle.sendall(ASK)
        assert answer_of(idle).status_code == 200
        server.send(signal.SIGTERM)
        received = answered_until_closed(idle)
        assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 200 OK")
        assert b"text/plain" not in received
        for name, connection in connections.items():
            stopping(answer_of(connection))
            assert connection.recv(1) == b"", f"{name}: the connection ends"
    assert server.join(30) in (0, -signal.SIGTERM)
    assert "Exception in ASGI application" not in server.log()
    assert not arriving(server), "nothing of the uploads is left"


def followed(
    url: str, application: Application, begun: threading.Event
) -> tuple[int, TrisealError]:
    """Follow an application's events until the stream is lost; returns their number, and how."""
    seen = 0
    token = application.tokens[application.parties[0]]
    with ServerClient(url, 60) as client, pytest.raises(TrisealError) as lost:
        for _ in client.events(application.client_id, token, 60):
            seen += 1
            begun.set()
    return seen, lost.value


def test_waiting_calls_and_streams_end_at_once_and_runs_continue(
    start: Callable[..., Server],
) -> None:
    server = start(evaluation_timeout=60).wait()
    application = server.filled(b"sleep 4")
    path = f"/applications/{application.client_id}"
    with ExitStack() as held:
        seen: dict[str, Any] = {}

        def ask(name: str, call: Callable[[httpx.Client], Any]) -> None:
            def answered() -> None:
                with httpx.Client(base_url=server.http.base_url, timeout=60) as http:
                    seen[name] = call(http)

            thread = threading.Thread(target=answered)
            thread.start()
            held.callback(thread.join)

        headers = application.auth()
        application.permit()
        data = {"client_id": application.client_id, "program": "decide"}
        query = {"after": 0, "wait": 25}
        ask("wait", lambda http: http.get(f"{path}/messages", params=query, headers=headers))
        ask("run", lambda http: http.post("/run_fhe", data=data, headers=headers))
        begun = threading.Event()
        ask("stream", lambda http: followed(str(http.base_url), application, begun))
        until(lambda: application.state()["programs"]["decide"]["status"] == "running")
        assert begun.wait(30)
        server.send(signal.SIGTERM)
    stopping(seen["run"])
    assert seen["wait"].status_code == 200 and seen["wait"].json()["messages"] == []
    events, end = seen["stream"]
    assert events and may_pass(end), "the stream is cut: its end is not the application's"
    assert server.join(30) in (0, -signal.SIGTERM)
    again = start(evaluation_timeout=60).wait()
    application.server = again
    assert application.run().status_code == 200, "the run was kept"


class Gate:
    """A proxy between a client and servers that delays the first upload until its response."""

    def __init__(self, first: int) -> None:
        self.target = first
        self.held = threading.Event()
        self.uploads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with closing(client), suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self.target))
            with closing(server):
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()
                hold = False
                while piece := client.recv(1 << 14):
                    if piece.startswith(b"PUT /applications/"):
                        self.uploads.append(piece[:20])
                        hold = len(self.uploads) == 1
                    elif hold:
                        self.held.set()  # the head was passed on, the rest waits forever
                        continue
                    server.sendall(piece)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while piece := server.recv(1 << 16):
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)


@pytest.fixture
def gate(start: Callable[..., Server]) -> Iterator[tuple[Gate, Server]]:
    server = start(stall_timeout=3600, upload_timeout=3600).wait()
    with closing(Gate(server.http.base_url.port or 0)) as between:
        yield between, server


def test_client_repeats_an_upload_after_a_restart(
    gate: tuple[Gate, Server], start: Callable[..., Server]
) -> None:
    between, server = gate
    application = server.joined()
    first, *_ = application.parties
    sealed = message(first, ENCRYPTED_INPUTS, bytes(30_000))
    receipts = []

    def send() -> None:
        with ServerClient(between.url, START_SECONDS) as client:
            token = application.tokens[first]
            receipts.append(
                client.send_file(application.client_id, first, ENCRYPTED_INPUTS, sealed, token)
            )

    sending = threading.Thread(target=send)
    sending.start()
    assert between.held.wait(START_SECONDS)
    server.send(signal.SIGTERM)
    server.join(30)
    again = start()
    between.target = again.http.base_url.port or 0
    sending.join(2 * START_SECONDS)
    assert [receipt.bytes for receipt in receipts] == [len(sealed)]
    assert len(between.uploads) >= 2
    assert not list(Path(server.data / "incoming").glob("[0-9a-f]*"))
