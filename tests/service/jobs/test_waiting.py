"""Runs as jobs over HTTP: queued, read, cancelled, retried; workers and servers that die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from engines.interface import DECIDE, EXPLAIN
from tests.service.driver import Application, Server, bearer, refused
from tests.service.test_life import expected

Start = Callable[..., Server]
APPLICATION_TIMES = ("application_created_at", "application_expires_at")


def status(application: Application, program: str = DECIDE) -> str:
    return str(application.state()["programs"][program]["status"])


def until(application: Application, *wanted: str, seconds: float = 20.0) -> str:
    deadline = time.monotonic() + seconds
    while (found := status(application)) not in wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found in wanted
    return found


def busy_worker(server: Server) -> int:
    """Return the pid of the worker that evaluates, by the process name that the stand-in sets."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for worker in server.workers():
            with suppress(OSError):
                if b"sleep" in Path(f"/proc/{worker.pid}/comm").read_bytes():
                    return worker.pid
        time.sleep(0.02)
    raise RuntimeError("no worker evaluates")


def test_run_is_queued_and_polled_until_done(server: Server) -> None:
    application = server.filled()
    path = f"/applications/{application.client_id}/runs/decide"
    before = server.http.get(path, headers=application.auth()).json()
    assert (before["status"], before["job"], before["attempts"]) == ("idle", None, 0)
    queued = application.queue()
    assert queued.status_code == 202
    assert queued.json()["status"] in ("queued", "running")
    until(application, "done")
    after = server.http.get(path, headers=application.auth()).json()
    assert (after["status"], after["job"]) == ("done", queued.json()["job"])
    assert application.output().content == expected(application)
    assert application.queue().json()["status"] == "done"
    assert refused(server.http.get(path), 401, "not-authorised")
    wrong = server.http.post(path.replace("decide", "guess"), headers=application.auth())
    assert refused(wrong, 422, "unknown-name")


def test_running_program_is_cancelled_and_run_again(server: Server) -> None:
    application = server.filled(b"sleep 15")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(application.run)
        until(application, "running")
        begin = time.monotonic()
        assert application.cancel().json()["status"] == "cancelled"
        assert "cancelled" in refused(waiting.result(), 409, "run-cancelled")
        assert time.monotonic() - begin < 10, "it does not wait for the evaluation's end"
    assert application.state()["state"] == "ready"
    party = application.parties[0]
    assert application.send(party, payload=b"better").status_code == 200
    assert application.run().status_code == 200
    assert application.output().content == expected(application, b"better")
    assert application.cancel().json()["status"] == "done", "what is done stays done"


def test_several_runs_of_the_model_are_told_and_cancelled_between_two(server: Server) -> None:
    """As an explanation of Concrete ML, which runs the model once for each value that it tries."""
    application = server.filled(b"runs 4 0.4")
    workers = set(server.workers())
    path = f"/applications/{application.client_id}/runs/decide"
    application.queue()
    found: list[dict[str, Any]] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (found and found[-1]["progress"] > 0):
        found += [application.state()["programs"][DECIDE]]
        found += [server.http.get(path, headers=application.auth()).json()]
        time.sleep(0.02)
    latest = found[-1]
    assert (latest["status"], latest["phase"], latest["runs"]) == ("running", "evaluating", 4)
    assert latest["progress"] in (0.25, 0.5, 0.75)
    assert latest["remaining_seconds"] in range(60)
    assert application.cancel().json()["status"] == "cancelled"
    cancelled = application.state()["programs"][DECIDE]
    assert (cancelled["phase"], cancelled["runs"], cancelled["progress"]) == (None, 1, 0.0)
    assert cancelled["remaining_seconds"] is None
    assert application.send(application.parties[0], payload=b"better").status_code == 200
    assert application.run().status_code == 200
    assert application.output().content == expected(application, b"better")
    assert set(server.workers()) == workers, "none has been replaced"


def test_queued_program_is_cancelled(start: Start) -> None:
    server = start(maximum_queued=1).wait()
    running, waiting, refused_one = server.filled(b"sleep 3"), server.filled(), server.filled()
    running.queue()
    until(running, "running")
    waiting.queue()
    answer = refused_one.queue()
    assert "its queue is full with 1 runs" in refused(answer, 429, "queue-full")
    assert int(answer.headers["retry-after"]) >= 1
    assert refused(waiting.run(EXPLAIN), 409, "already-running")
    assert waiting.cancel().json()["status"] == "cancelled"
    assert refused_one.queue().status_code == 202, "there is room again"
    assert until(running, "done") == "done"
    assert until(refused_one, "done") == "done"


def test_a_crashing_input_affects_only_its_worker_and_fails_after_two_attempts(
    server: Server,
) -> None:
    poison, healthy = server.filled(b"abort"), server.filled()
    with ThreadPoolExecutor(2) as pool:
        bad, good = pool.submit(poison.run), pool.submit(healthy.run)
        detail = refused(bad.result(), 500, "evaluation-failed")
        assert "crashed its worker" in detail
        assert good.result().status_code == 200
    program = poison.state()["programs"][DECIDE]
    assert (program["status"], program["attempts"]) == ("failed", 2)
    assert healthy.output().content == expected(healthy)


@pytest.mark.parametrize("who", ["worker", "both"])
def test_a_run_is_finished_once_whichever_process_is_killed(start: Start, who: str) -> None:
    """The server alone is killed in test_life.py, while an application runs."""
    server = start().wait()
    application = server.filled(b"sleep 1.5")
    answers: list[httpx.Response] = []

    def ask() -> None:
        with suppress(httpx.TransportError):
            answers.append(application.run())

    asking = threading.Thread(target=ask)
    asking.start()
    until(application, "running")
    os.kill(busy_worker(server), signal.SIGKILL)
    if who == "both":
        server.kill()
        server = start().wait()
        application.server = server
    asking.join(30)
    assert application.run().status_code == 200
    program = application.state()["programs"][DECIDE]
    assert (program["status"], program["attempts"]) == ("done", 2)
    assert application.output().content == expected(application, b"sleep 1.5")
    assert [a.status_code for a in answers] == ([200] if who == "worker" else [])
    results = [p for p in server.blobs() if p.name == _digest(application.output().content)]
    assert len(results) == 1


def test_stopping_server_requeues_its_run(start: Start) -> None:
    server = start().wait()
    application = server.filled(b"sleep 1.5")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(application.run)
        until(application, "running")
        server.send(signal.SIGTERM)
        assert refused(waiting.result(), 503, "server-stopping")
        server.join(15)
    application.server = start().wait()
    assert application.run().status_code == 200
    assert application.output().content == expected(application, b"sleep 1.5")


def test_damaged_ciphertext_is_reported_and_can_be_replaced(server: Server) -> None:
    application, other = server.filled(b"one"), server.filled(b"two")
    party = application.parties[0]
    mine, theirs = (_blob_of(one, party) for one in (application, other))
    mine.write_bytes(theirs.read_bytes())  # swapped: complete, but of another application
    detail = refused(application.run(), 500, "stored-data-damaged")
    assert application.client_id not in detail
    assert application.send(party, payload=b"one").status_code == 200
    assert application.run().status_code == 200
    assert application.output().content == expected(application, b"one")
    theirs.write_bytes(theirs.read_bytes()[:-1])  # truncated
    refused(other.run(), 500, "stored-data-damaged")
    other.erase()
    result = application.output().content
    for path in server.blobs():
        if path.name == _digest(result):
            path.write_bytes(result[:-1])
    refused(application.output(), 500, "stored-data-damaged")
    application.erase()


def test_tokens_are_renewed_and_revoked(server: Server) -> None:
    application = server.joined()
    first, *_ = application.parties
    path = f"/applications/{application.client_id}/token"
    old = application.tokens[first]
    renewed = server.http.post(path, headers=bearer(old))
    assert renewed.status_code == 200
    named = {"token", "scopes", "expires_at", "witnesses"}
    readers = {"readers", "explanation_readers", "reasons_readers"}
    assert set(renewed.json()) == {*named, *readers, *APPLICATION_TIMES}
    application.tokens[first] = renewed.json()["token"]
    assert application.send(first).status_code == 200
    assert server.http.delete(path, headers=application.auth()).status_code == 204
    assert refused(application.send(first), 401, "not-authorised")


def _blob_of(application: Application, party: str) -> Path:
    slots = application.state()["slots"]
    sha256 = next(
        s["sha256"] for s in slots if s["party"] == party and s["file_name"] == "encrypted_inputs"
    )
    found = [path for path in application.server.blobs() if path.name == sha256]
    assert len(found) == 1
    return found[0]


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()
