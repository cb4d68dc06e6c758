"""Rejection of invalid uploads, without any change of state."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY
from tests.service.driver import RAW, WAYS, Application, Server, bearer, code_of, refused
from trials.stand_in import SMALL, message

pytestmark = pytest.mark.usefixtures("unchanged")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "upload-empty"),
        (b"x", 422, "malformed-message"),
        (os.urandom(5000), 422, "malformed-message"),
        (message("applicant", ENCRYPTED_INPUTS)[:-1], 422, "malformed-message"),
        (message("applicant", ENCRYPTED_INPUTS)[:50], 422, "malformed-message"),
        (message("applicant", ENCRYPTED_INPUTS) + b"x", 422, "malformed-message"),
        (message("applicant", ENCRYPTED_INPUTS, model="another"), 422, "foreign-message"),
        (message("bank", ENCRYPTED_INPUTS), 422, "foreign-message"),
        (message("applicant", EVALUATION_KEY), 422, "foreign-message"),
        (bytes(SMALL + 1), 413, "upload-too-large"),
        (bytes(SMALL * 100), 413, "upload-too-large"),
        (bytes(31_000_000), 413, "upload-too-large"),
    ],
    ids=[
        "empty",
        "one byte",
        "random",
        "last byte cut",
        "truncated",
        "one byte more",
        "another model",
        "another party",
        "another slot",
        "a byte too large",
        "much too large",
        "larger than any slot",
    ],
)
def test_invalid_content_is_rejected(
    application: Application, content: bytes, status: int, code: str, way: str
) -> None:
    refused(application.send(application.parties[0], content=content, way=way), status, code)


@pytest.mark.parametrize("way", WAYS)
def test_content_of_maximum_size_is_accepted(server: Server, way: str) -> None:
    application = server.joined()
    overhead = len(message(application.parties[0], ENCRYPTED_INPUTS, b""))
    answer = application.send(application.parties[0], payload=bytes(SMALL - overhead), way=way)
    assert answer.json()["bytes"] == SMALL
    application.erase()


def test_upload_without_content_length_is_limited(application: Application) -> None:
    name = "applicant"
    head = '--limit\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'

    def parts() -> Any:
        fields = {
            "client_id": application.client_id,
            "client_type": name,
            "file_name": EVALUATION_KEY,
        }
        for field, value in fields.items():
            yield head.format(field) + value + "\r\n"
        yield head.format("files")
        for _ in range(32):
            yield "x" * 1_000_000

    headers = {"Content-Type": "multipart/form-data; boundary=limit"}
    answer = application.server.http.post(
        "/send_file",
        content=(part.encode() for part in parts()),
        headers={**headers, **application.auth(name)},
    )
    refused(answer, 413, "upload-too-large")
    for path in ("/run_fhe", "/applications"):
        endless = (b"client_id=" + b"x" * 60_000 for _ in range(3))
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = application.server.http.post(path, content=endless, headers=kind)
        if path == "/run_fhe":
            refused(answer, 413, "upload-too-large")
        else:  # the other call takes no form and does not read one
            refused(answer, 415, "unsupported-content")
    big = application.server.http.post("/run_fhe", data={"client_id": "x" * 70_000})
    refused(big, 413, "upload-too-large")


def test_chunked_upload_is_limited_to_the_slots_size(application: Application) -> None:
    path = f"/applications/{application.client_id}/slots/{ENCRYPTED_INPUTS}"
    endless = (bytes(1_000_000) for _ in range(32))
    answer = application.server.http.put(path, content=endless, headers=RAW | application.auth())
    assert "encrypted_inputs may have" in refused(answer, 413, "upload-too-large")


def test_too_long_declared_length_is_refused_before_the_body(
    application: Application,
) -> None:
    base = application.server.http.base_url
    for length, expected in ((SMALL + 1, b"encrypted_inputs may have"), (31_000_000, b"413")):
        with socket.create_connection((base.host, base.port), timeout=20) as connection:
            connection.sendall(_head(application, "PUT", length))
            answer = b""
            while expected not in answer:
                piece = connection.recv(1 << 16)
                assert piece, answer
                answer += piece
        assert answer.startswith(b"HTTP/1.1 413 ")


def test_raw_upload_fills_only_the_own_partys_slot(application: Application) -> None:
    first, *_, last = application.parties

    def put(party: str = first, file_name: str = ENCRYPTED_INPUTS, **change: Any) -> httpx.Response:
        return application.send(party, file_name, way="PUT", **change)

    refused(put(client_id="0" * 32), 404, "unknown-application")
    refused(put(client_id="x"), 422, "invalid-request")
    assert EVALUATION_KEY in refused(put(file_name="nothing"), 422, "unknown-name")
    refused(put(last, EVALUATION_KEY), 422, "unknown-name")
    refused(put(file_name="a/b"), 404, "about:blank")
    refused(put(headers=bearer("forged")), 401, "not-authorised")
    refused(put(headers={"X": "no token"}), 401, "not-authorised")
    for kind in ("", "multipart/form-data; boundary=b", "application/octet-streams"):
        other = put(headers={**application.auth(), "Content-Type": kind})
        refused(other, 415, "unsupported-content")


def form(*parts: tuple[str, bytes], end: bytes = b"--b--\r\n") -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    return b"".join(head % (name.encode(), value) for name, value in parts) + end


MALFORMED = {
    "empty body": b"",
    "no boundary": b"hello",
    "another boundary": form(("files", b"x")).replace(b"--b", b"--c"),
    "cut off": form(("client_id", b"x"), ("files", b"xy"), end=b""),
    "no file": form(("client_id", b"x")),
    "only a file": form(("files", b"x")),
    "twice": form(("client_id", b"x"), ("client_id", b"y")),
    "unknown field": form(("program", b"x")),
    "no name": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
    "no header": b"--b\r\n\r\nx\r\n--b--\r\n",
    "bad header": b"--b\r\n\x00\x01: x\r\n\r\nx\r\n--b--\r\n",
    "endless header": b"--b\r\nX: " + b"x" * 20_000,
    "long field": form(("client_id", b"x" * 300)),
    "not text": form(("client_id", b"\xff\xfe")),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_malformed_forms_are_rejected(application: Application, body: bytes) -> None:
    headers = {**application.auth(), "Content-Type": "multipart/form-data; boundary=b"}
    answer = application.server.http.post("/send_file", content=body, headers=headers)
    refused(answer, 422, "invalid-request")


def _head(application: Application, way: str, length: int) -> bytes:
    path, kind = "/send_file", "multipart/form-data; boundary=b"
    if way == "PUT":
        path = f"/applications/{application.client_id}/slots/{ENCRYPTED_INPUTS}"
        kind = RAW["Content-Type"]
    return (
        f"{way} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
        f"Content-Type: {kind}\r\n"
        f"Authorization: {application.auth()['Authorization']}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("way", WAYS)
def test_disconnected_upload_leaves_no_file(application: Application, way: str) -> None:
    base = application.server.http.base_url
    fields = (
        ("client_id", application.client_id.encode()),
        ("client_type", application.parties[0].encode()),
        ("file_name", ENCRYPTED_INPUTS.encode()),
    )
    half = b"half of it"
    body = half if way == "PUT" else form(*fields, ("files", half), end=b"")
    before = application.server.blobs()
    with socket.create_connection((base.host, base.port)) as connection:
        connection.sendall(_head(application, way, 30_000) + body)
        appeared = _within(5, lambda: application.server.blobs() != before)
    assert appeared, "the file is on its way"
    assert _within(5, lambda: application.server.blobs() == before)


def _within(seconds: float, true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return False


def test_failed_or_crashed_check_is_reported_as_malformed_message(application: Application) -> None:
    first = application.parties[0]
    refused(application.send(first, payload=b"check fault"), 422, "malformed-message")
    refused(application.send(first, payload=b"check abort", way="PUT"), 422, "malformed-message")
    # The server continues with a new worker.
    other = application.server.filled()
    assert other.run().status_code == 200
    other.erase()


TEXT = st.text(max_size=40) | st.sampled_from([ENCRYPTED_INPUTS, EVALUATION_KEY, "applicant"])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    fields=st.dictionaries(
        st.sampled_from(["client_id", "client_type", "file_name", "files", "x"])
        | st.text(max_size=9),
        TEXT,
        max_size=5,
    ),
    file=st.binary(max_size=300),
    valid=st.sets(st.sampled_from(["client_id", "client_type", "file_name"])),
    cut=st.integers(0, 400),
    token=st.booleans(),
)
def test_random_fields_and_files_never_cause_server_errors(
    application: Application,
    fields: dict[str, str],
    file: bytes,
    valid: set[str],
    cut: int,
    token: bool,
) -> None:
    right = {
        "client_id": application.client_id,
        "client_type": "applicant",
        "file_name": ENCRYPTED_INPUTS,
    }
    fields = {**fields, **{name: right[name] for name in valid}}
    parts = [(n, v.encode("utf-8", "surrogatepass")) for n, v in fields.items()]
    parts = [(n.replace('"', "").replace("\r", "").replace("\n", ""), v) for n, v in parts]
    body = form(*parts, ("files", file))
    answer = application.server.http.post(
        "/send_file",
        content=body[: len(body) - cut] if cut < 20 else body,
        headers={
            "Content-Type": "multipart/form-data; boundary=b",
            **(application.auth() if token else {}),
        },
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert code_of(answer) in {
        "invalid-request",
        "unknown-application",
        "unknown-party",
        "unknown-name",
        "not-authorised",
        "forbidden-slot",
        "upload-empty",
        "malformed-message",
    }


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=400), lead=st.sampled_from([b"", b"--b\r\n", form(("files", b"x"))]))
def test_random_bodies_never_cause_server_errors(
    application: Application, body: bytes, lead: bytes
) -> None:
    headers = {**application.auth(), "Content-Type": "multipart/form-data; boundary=b"}
    answer = application.server.http.post("/send_file", content=lead + body, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert code_of(answer) == "invalid-request"
