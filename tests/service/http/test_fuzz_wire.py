"""Valid requests with wrong bytes in head and body, as no HTTP library would send them."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engines.interface import ENCRYPTED_INPUTS
from tests.fuzz.decoders import FORM, form_of
from tests.fuzz.mutations import spoilt
from tests.service.driver import RAW, Application, Server
from trials.stand_in import message

FEW = settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
URLENCODED = "application/x-www-form-urlencoded"
JSON = "application/json"


def samples(application: Application) -> tuple[bytes, ...]:
    """Return a request for every call with a body, and for some without."""
    party, client_id = application.parties[0], application.client_id
    path = f"/applications/{client_id}"
    fields = {"client_id": client_id, "client_type": party, "file_name": ENCRYPTED_INPUTS}
    sealed = message(party, ENCRYPTED_INPUTS)
    upload = form_of({name: value.encode() for name, value in fields.items()}, sealed)
    said = {"step": "hello", "receiver": None, "body": base64.b64encode(b"word").decode()}
    form = f"client_id={client_id}&program=decide".encode()
    calls: list[tuple[str, str, bytes]] = [
        ("POST /send_file", FORM, upload),
        (f"PUT {path}/slots/{ENCRYPTED_INPUTS}", RAW["Content-Type"], sealed),
        ("POST /run_fhe", URLENCODED, form),
        ("POST /get_output", URLENCODED, form),
        ("POST /applications", JSON, json.dumps({"readers": [party]}).encode()),
        (f"POST {path}/join", JSON, json.dumps({"party": party, "code": "c"}).encode()),
        (f"POST {path}/messages", JSON, json.dumps(said).encode()),
        (f"GET {path}/messages?after=0&wait=0", "", b""),
        (f"GET {path}/runs/decide", "", b""),
        ("GET /operator/jobs?status=done", "", b""),
    ]
    return tuple(request_of(application, *call) for call in calls)


def request_of(application: Application, call: str, kind: str, body: bytes) -> bytes:
    head = (
        f"{call} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: {application.auth()['Authorization']}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def exchanged(server: Server, sent: bytes, end: bool = True) -> bytes:
    """Return the data until the connection closes; `end` closes this side after the request."""
    base, received = server.http.base_url, b""
    with closing(socket.create_connection((base.host, base.port), timeout=30)) as connection:
        try:
            connection.sendall(sent)
            if end:  # else the server would wait for the rest of a body that is now too short
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                received += piece
        except ConnectionError:
            pass  # the server may cut the connection
    return received


@pytest.fixture
def faults(server: Server) -> Iterator[Any]:
    """Check that no request caused a 500, even if its response was not received."""
    before = len(server.log())
    yield
    logged = server.log()[before:]
    assert re.findall(r'.*"status": 5\d\d.*', logged) == []
    assert "Traceback" not in logged


@pytest.mark.usefixtures("faults")
def test_malformed_http_never_causes_server_errors(server: Server) -> None:
    application = server.filled()
    valid = samples(application)
    for request in valid:
        answer = exchanged(server, request, end=False)
        assert re.match(rb"HTTP/1.1 (200|201|401|403|409) ", answer), (request, answer)
    statuses: set[bytes] = set()

    @FEW
    @given(st.data())
    def send(data: st.DataObject) -> None:
        whole = data.draw(st.sampled_from(valid))
        head, _, body = whole.partition(b"\r\n\r\n")
        if data.draw(st.booleans()):
            head = data.draw(spoilt([head], most_edits=2))
        else:
            body = data.draw(spoilt([body]))
            head = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head)
        answer = exchanged(server, head + b"\r\n\r\n" + body)
        statuses.update(re.findall(rb"^HTTP/1.1 (\d+)", answer))

    send()
    assert statuses & {b"400", b"404", b"422"}
    assert not [status for status in statuses if status >= b"500"]
    assert server.http.get("/health").status_code == 200
