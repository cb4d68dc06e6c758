"""Erasure by a party, by the operator or by expiry leaves no data on any disk."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.storage.blob_backends import UNFINISHED
from tests.service.applications.test_relay import say
from tests.service.driver import Application, Server, bearer
from tests.service.storages import DATABASES, database_settings
from utils.tokens import digest

Start = Callable[..., Server]
WINDOW = 24
"""Number of bytes to search for; so many random bytes do not occur elsewhere by chance."""


def begun() -> float:
    """Return the current time, or slightly earlier, by the clock that dates files.

    PostgreSQL's folder also has the databases of all other tests: too much to read each time.
    """
    return time.time() - 1.0


@pytest.fixture(params=DATABASES)
def begin(request: pytest.FixtureRequest, start: Start) -> Callable[..., Server]:
    settings = database_settings(request, request.param)
    return lambda **change: start(**settings, **change).wait()


def filled_with_marks(server: Server) -> tuple[Application, dict[str, bytes]]:
    """Complete an application; return it with the data that must not remain after erasure."""
    application = server.joined()
    first, second, _ = application.parties
    marks: dict[str, bytes] = {}
    for party in application.parties:
        payload = b"bits" + secrets.token_bytes(2000)
        marks[f"inputs of {party}"] = payload[-WINDOW:]
        assert application.send(party, payload=payload).status_code == 200
    key = secrets.token_bytes(200_000)
    marks["key, its begin"], marks["key, its end"] = key[:WINDOW], key[-WINDOW:]
    assert application.send(first, "evaluation_key", payload=key).status_code == 200
    body = secrets.token_bytes(3000)
    marks["what a party said"] = body[1000 : 1000 + WINDOW]
    marks["the same in base64"] = base64.b64encode(body)[1200 : 1200 + WINDOW]
    assert say(application, first, body=body).status_code == 200
    assert say(application, second, receiver=first, body=body[::-1]).status_code == 200
    marks["what was said to one"] = body[::-1][1000 : 1000 + WINDOW]
    assert application.run().status_code == 200
    result = application.output().content
    marks["the result"] = result[-32 - WINDOW : -32]
    for party, token in application.tokens.items():
        marks[f"token of {party}"] = token.encode()
    return application, marks


def names_of(application: Application) -> dict[str, bytes]:
    """Return data that only identifies it: its id, and digests of erased content."""
    slots = application.state()["slots"]
    named = {
        f"digest of {s['party']}'s {s['file_name']}": s["sha256"].encode()
        for s in slots
        if s["sha256"] is not None
    }
    tokens = {f"digest of {p}'s token": digest(t) for p, t in application.tokens.items()}
    return {"id": application.client_id.encode(), **named, **tokens}


def left(folders: list[Path], marks: dict[str, bytes], since: float = 0.0) -> list[str]:
    """Return the marks found in files below the folders that were written after `since`."""
    found = set()
    for path in (p for folder in folders for p in folder.rglob("*") if p.is_file()):
        if path.stat().st_mtime < since:
            continue
        content = path.read_bytes()
        found.update(name for name, mark in marks.items() if mark in content)
        found.update(name for name, mark in marks.items() if mark.decode("latin-1") in path.name)
    return sorted(found)


def by_party(server: Server, application: Application) -> None:
    assert application.erase().status_code == 204


def by_operator(server: Server, application: Application) -> None:
    token = (server.data / "operator_token").read_text()
    path = f"/operator/applications/{application.client_id}"
    assert server.http.delete(path, headers=bearer(token)).status_code == 204


def test_no_data_is_left_after_erasure(begin, postgres_folder) -> None:
    server, since = begin(), begun()
    stays = server.filled()
    every: dict[str, bytes] = {}
    for erase in (by_party, by_operator):
        application, marks = filled_with_marks(server)
        names = names_of(application)
        assert "inputs of bank" in left([server.data], marks), "the search finds what is there"
        erase(server, application)
        assert left([server.data], marks) == []
        assert left(postgres_folder, marks, since) == []
        if not postgres_folder:  # PostgreSQL keeps ids and digests in its pages and log for a while
            assert left([server.data], names) == []
        every |= {f"{erase.__name__}: {name}": mark for name, mark in marks.items()}
    assert stays.run().status_code == 200
    server.stop()
    assert left([server.data], every) == []
    assert left(postgres_folder, every, since) == []


def test_failed_removals_are_completed_later(start: Start) -> None:
    alone = {"database_url": None}  # SQLite, even if the other tests use PostgreSQL
    server = start(**alone).wait()
    application, marks = filled_with_marks(server)
    names = {"id": application.client_id.encode()}
    going = server.data / "blobs" / UNFINISHED
    going.rmdir()
    going.write_bytes(b"")  # not a folder, so that nothing can be moved into it
    refused = application.erase()
    assert refused.status_code == 503
    assert "is gone" in refused.json()["detail"]
    assert application.erase().status_code == 404
    assert left([server.data], names) == [], "the other parts are done"
    assert "inputs of bank" in left([server.data], marks)
    going.unlink()
    going.mkdir(mode=0o700)
    server.stop()
    server = start(**alone).wait()
    assert left([server.data], {**marks, **names}) == []


def test_no_data_is_left_after_expiry(begin, postgres_folder) -> None:
    server, since = begin(application_hours=4 / 3600), begun()
    application, marks = filled_with_marks(server)
    names = names_of(application)
    names.pop("id")  # stays as a tombstone, so that requests get 410 instead of 404
    deadline = time.monotonic() + 20
    while server.blobs() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)
    assert server.blobs() == []
    assert left([server.data], marks) == []
    assert left(postgres_folder, marks, since) == []
    if not postgres_folder:
        assert left([server.data], names) == []


@pytest.fixture
def postgres_folder(request: pytest.FixtureRequest) -> Iterator[list[Path]]:
    """Yield the folder of PostgreSQL's own files if the tests started that server."""
    if request.node.callspec.params.get("begin") != "postgresql":
        yield []
        return
    ours = getattr(request.getfixturevalue("postgres"), "__self__", None)
    if ours is None:
        pytest.skip("the files of an external PostgreSQL server cannot be searched")
    yield [ours.folder]
