"""Bodies that arrive too slowly or stop: they time out, leave no files, and block no one else."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY, PROGRAMS, Slot
from service.applications.slots import Place
from service.applications.uploads import receive_upload
from service.http.raw_body import MEDIA_TYPE, RawBodyReader
from service.http.upload_form import FormReader
from tests.service.driver import RAW, WAYS, Application, Server, bearer, refused
from tests.service.http.test_upload_form import KIND, body_of
from utils.errors import UploadTooSlow
from utils.marked_folder import MARK
from web.body_limits import BodyLimit, Pace
from web.rate_limits import TOKEN_UPLOADS, TOKEN_WAITS

SLOT = Slot(party="p", file_name="f", needed_for=PROGRAMS, maximum_bytes=10_000)
FOREVER = 3600.0
THREADS = 40
"""Size of the thread pool for the server's synchronous calls."""
WAIT = 60.0


def receive(
    path: Path, pace: Pace, stop_at: int, pause: float = FOREVER, way: str = "POST"
) -> None:
    """Receive a body whose sender stops or pauses after some bytes, then after each."""
    raw = way == "PUT"
    body = bytes(300) if raw else body_of(bytes(300))
    reader = RawBodyReader(MEDIA_TYPE, {"client_id": "c"}) if raw else FormReader(KIND)

    async def stream() -> AsyncIterator[bytes]:
        yield body[:stop_at]
        for at in range(stop_at, len(body)):
            await asyncio.sleep(pause)
            yield body[at : at + 1]

    async def admit(_: Mapping[str, str]) -> Place:
        return Place(SLOT, "store")

    asyncio.run(receive_upload(stream(), reader, path, admit, pace))


BEFORE_FIELDS, IN_FILE = 20, len(body_of(bytes(300))) - 100


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("stop_at", [0, BEFORE_FIELDS, IN_FILE])
def test_silent_sender_times_out(tmp_path: Path, stop_at: int, way: str) -> None:
    with pytest.raises(UploadTooSlow, match=r"no data for 0\.1 s"):
        receive(tmp_path / "blob", Pace(0.1, FOREVER), min(stop_at, 200), way=way)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", WAYS)
def test_upload_has_a_total_time_limit(tmp_path: Path, way: str) -> None:
    stop_at = 200 if way == "PUT" else IN_FILE
    with pytest.raises(UploadTooSlow, match=r"everything within 0\.2 s"):
        receive(tmp_path / "blob", Pace(FOREVER, 0.2), stop_at, pause=0.01, way=way)
    assert list(tmp_path.iterdir()) == []


def test_unauthorised_upload_has_a_shorter_time_limit(tmp_path: Path) -> None:
    with pytest.raises(UploadTooSlow):
        receive(tmp_path / "blob", Pace(0.2, FOREVER), BEFORE_FIELDS, pause=0.01)
    assert list(tmp_path.iterdir()) == []


def test_pauses_within_the_limit_are_accepted(tmp_path: Path) -> None:
    receive(tmp_path / "blob", Pace(WAIT, WAIT), IN_FILE, pause=0.001)
    assert (tmp_path / "blob").stat().st_size == 300


def test_time_limit_does_not_apply_after_the_body() -> None:
    """Event streams call `receive` again, which returns when the client disconnects."""
    heard: list[str] = []
    messages = iter([{"type": "http.request", "body": b""}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.05 * len(heard))
        return next(messages)

    async def application(scope: object, receive: Callable[[], object], send: object) -> None:
        for _ in range(2):
            heard.append((await receive())["type"])  # type: ignore[misc, index]

    async def send(_: object) -> None:
        raise AssertionError("nothing is answered")

    limit = BodyLimit(application, lambda _: 10, lambda _: Pace(0.01, 0.02))  # type: ignore[arg-type]
    asyncio.run(limit({"type": "http", "path": "/", "headers": []}, receive, send))  # type: ignore[arg-type]
    assert heard == ["http.request", "http.disconnect"]


def request(
    application: Application, path: str, body: bytes, length: int, kind: str, way: str = "POST"
) -> bytes:
    return (
        f"{way} {path} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Length: {length}\r\nContent-Type: {kind}\r\n"
        f"Authorization: {application.auth()['Authorization']}\r\n\r\n"
    ).encode() + body


def half_sent(application: Application, fields: bool = True) -> bytes:
    """Return a form that ends within its file or within its fields."""
    values = (application.client_id, application.parties[0], ENCRYPTED_INPUTS)
    body = body_of(bytes(900))
    for name, value in zip(("client_id", "client_type", "file_name"), values, strict=True):
        body = body.replace(f"value of {name}".encode(), value.encode())
    part = body[:-200] if fields else body[:30]
    return request(application, "/send_file", part, len(body), KIND)


def put(application: Application, file_name: str, body: bytes, length: int) -> bytes:
    path = f"/applications/{application.client_id}/slots/{file_name}"
    return request(application, path, body, length, RAW["Content-Type"], "PUT")


def without_token(sent: bytes) -> bytes:
    return re.sub(rb"Authorization: [^\r]*\r\n", b"", sent)


def connected(server: Server) -> socket.socket:
    base = server.http.base_url
    return socket.create_connection((base.host, base.port), timeout=WAIT)


def answer_of(connection: socket.socket) -> httpx.Response:
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        piece = connection.recv(1 << 16)
        assert piece, received
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines]
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("impatient")
    running = Server(folder / "data", stall_timeout=0.5, upload_timeout=2)
    yield running.wait()
    running.stop()


def test_stalled_body_of_every_call_is_refused(impatient: Server) -> None:
    application = impatient.joined()
    path = f"/applications/{application.client_id}"
    before = impatient.blobs()
    stalled = [
        half_sent(application),
        half_sent(application, fields=False),
        put(application, ENCRYPTED_INPUTS, bytes(700), 900),
        request(application, "/run_fhe", b"client_id=", 80, "application/x-www-form-urlencoded"),
        request(application, f"{path}/join", b'{"party"', 80, "application/json"),
        request(application, f"{path}/messages", b"", 80, "application/json"),
    ]
    with ExitStack() as held:
        connections = [held.enter_context(connected(impatient)) for _ in stalled]
        for connection, sent in zip(connections, stalled, strict=True):
            connection.sendall(sent)
        for connection in connections:
            refused(answer_of(connection), 408, "upload-too-slow")
            assert connection.recv(1) == b"", "the rest of the body is not waited for"
        silent = held.enter_context(connected(impatient))
        silent.sendall(b"POST /send_file HTTP/1.1\r\nHost")
        assert silent.recv(1) == b"", "nor is the rest of a head"
    assert impatient.blobs() == before
    assert application.send(application.parties[0]).status_code == 200


@pytest.mark.parametrize("way", WAYS)
def test_large_file_is_limited_by_silence_not_by_piece_time(impatient: Server, way: str) -> None:
    application = impatient.joined()
    values = (application.client_id, application.parties[0], EVALUATION_KEY)
    size = 1 << 19
    body = body_of(bytes(size))
    for name, value in zip(("client_id", "client_type", "file_name"), values, strict=True):
        body = body.replace(f"value of {name}".encode(), value.encode())
    sent = request(application, "/send_file", body, len(body), KIND)
    if way == "PUT":
        sent = put(application, EVALUATION_KEY, bytes(size), size)
    with connected(impatient) as connection:
        for start in range(0, len(sent), -(-len(sent) // 5)):  # takes longer than the allowed pause
            connection.sendall(sent[start : start + -(-len(sent) // 5)])
            time.sleep(0.2)
        refused(answer_of(connection), 422, "malformed-message")  # it was read completely
    with connected(impatient) as connection:
        connection.sendall(sent[: len(sent) // 2])
        refused(answer_of(connection), 408, "upload-too-slow")
        assert connection.recv(1) == b"", "the rest of the body is not waited for"
    assert not arriving(impatient)


def test_concurrent_streams_per_token_are_limited(impatient: Server) -> None:
    """Event streams last as long as an application, so each token may have only a few."""
    application = impatient.joined()
    path = f"/applications/{application.client_id}"
    first, second, *_ = application.parties
    with ExitStack() as held:

        def listen(party: str) -> httpx.Response:
            http = held.enter_context(httpx.Client(base_url=impatient.http.base_url, timeout=WAIT))
            headers = application.auth(party)
            return held.enter_context(http.stream("GET", f"{path}/events", headers=headers))

        assert [listen(first).status_code for _ in range(TOKEN_WAITS)] == [200] * TOKEN_WAITS
        full = impatient.http.get(path, headers=application.auth(first))
        assert "in progress" in refused(full, 429, "too-many-requests")
        assert listen(second).status_code == 200
    until(lambda: impatient.http.get(path, headers=application.auth(first)).status_code == 200)


@pytest.fixture
def patient(start: Callable[..., Server]) -> Iterator[Server]:
    yield start(stall_timeout=FOREVER, upload_timeout=FOREVER, maximum_uploads=10).wait()


def test_stalled_uploads_do_not_delay_other_calls(patient: Server) -> None:
    stalling = [patient.joined() for _ in range(3)]
    with ExitStack() as held:

        def stall(application: Application) -> None:
            held.enter_context(connected(patient)).sendall(half_sent(application))

        for _ in range(THREADS + 10):  # without a valid token
            connection = held.enter_context(connected(patient))
            connection.sendall(without_token(half_sent(stalling[0], fields=False)))
        for application in stalling[:2]:
            for _ in range(TOKEN_UPLOADS):
                stall(application)
        until(lambda: len(arriving(patient)) == 2 * TOKEN_UPLOADS)
        more = stalling[0].send(stalling[0].parties[0])
        assert "this token" in refused(more, 429, "too-many-requests")
        assert int(more.headers["retry-after"]) >= 1
        # Threads, workers and the upload limits of others remain free.
        other = patient.filled()
        assert other.run().status_code == 200
        assert other.output().status_code == 200
        for _ in range(2):
            stall(stalling[2])
        until(lambda: len(arriving(patient)) == 10)
        full = other.explanation()
        assert "the server's maximum" in refused(full, 429, "too-many-requests")
        wrong = stalling[0].send(stalling[0].parties[0], headers=bearer("forged"))
        refused(wrong, 401, "not-authorised")
    until(lambda: not arriving(patient))
    assert other.explanation().status_code == 200


def arriving(server: Server) -> list[Path]:
    return [path for path in (server.data / "incoming").iterdir() if path.name != MARK]


def until(true: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not true():
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(wait(), WAIT))
