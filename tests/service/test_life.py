"""Crashes, time limits, restarts, expiry and shutdown of a server."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from engines.interface import ENCRYPTED_INPUTS, EVALUATION_KEY
from tests.service import driver
from tests.service.driver import Application, Server, code_of, gone
from trials.stand_in import message, result_of

Start = Callable[..., Server]


def expected(application: Application, order: bytes = b"bits") -> bytes:
    """Return the only correct result of a decision."""
    first, *_ = application.parties
    sent = {
        (party, ENCRYPTED_INPUTS): message(
            party, ENCRYPTED_INPUTS, order if party == first else b"bits"
        )
        for party in application.parties
    }
    sent[first, EVALUATION_KEY] = message(first, EVALUATION_KEY)
    return result_of("decide", sent)


@pytest.mark.parametrize("order", [b"abort", b"refuse", b"fault"])
def test_a_failed_evaluation_can_be_run_again(server: Server, order: bytes) -> None:
    application = server.filled(order)
    answer = application.run()
    assert (answer.status_code, code_of(answer)) == (500, "evaluation-failed")
    assert "Traceback" not in answer.text
    program = application.state()["programs"]["decide"]
    assert program["status"] == "failed"
    assert program["error"] == answer.json()["detail"]
    assert application.state()["state"] == "ready"
    assert server.wait().filled().run().status_code == 200, "the server goes on"
    assert code_of(application.output()) == "out-of-step"
    assert application.send(application.parties[0], payload=b"better").status_code == 200
    assert application.run().status_code == 200


def test_restart_time_limit_and_shutdown(start: Start) -> None:
    server = start(evaluation_timeout=1.5).wait()
    decided, late, sent = server.filled(), server.filled(b"sleep 60"), server.filled()
    decided.run()
    answer = late.run()
    assert (answer.status_code, code_of(answer)) == (500, "evaluation-failed")
    assert "1.5 seconds" in answer.json()["detail"]
    assert server.wait().filled().run().status_code == 200

    cut_off = server.filled(b"sleep 1.2")

    def run_until_cut_off() -> None:
        with suppress(httpx.TransportError):
            cut_off.run()

    threading.Thread(target=run_until_cut_off, daemon=True).start()
    while cut_off.state()["state"] != "running":
        time.sleep(0.02)
    workers = server.workers()
    assert len(workers) >= 2
    left_over = [server.data / "incoming" / ("f" * 32), server.data / "blobs" / ("0" * 32)]
    left_over[1].mkdir()
    left_over[1] /= "0" * 64
    for path in left_over:
        path.write_bytes(b"x")
    server.kill()
    assert gone(workers), "workers end with a server that was killed"

    server = start().wait()
    for application in (decided, sent, cut_off):
        application.server = server
    # In a shared store this blob may be waiting for its row, so it is removed by age only.
    kept = [] if driver.database_of is None else left_over[1:]
    assert [path for path in left_over if path.exists()] == kept
    assert decided.output().status_code == 200
    assert decided.state()["state"] == "decided"
    assert cut_off.run().status_code == 200, "a run that was cut off goes on"
    program = cut_off.state()["programs"]["decide"]
    assert (program["status"], program["attempts"]) == ("done", 2)
    assert cut_off.output().content == expected(cut_off, b"sleep 1.2")
    assert sent.run().status_code == 200
    assert sent.output().content == expected(sent)

    second = start()
    assert second.join(30) != 0
    assert "Another server uses" in second.log()

    workers = server.workers()
    events = f"/applications/{sent.client_id}/events"
    with server.http.stream("GET", events, headers=sent.auth()):
        begin = time.monotonic()
        server.send(signal.SIGINT)
        server.join(15)
        assert time.monotonic() - begin < 8, "an open event stream does not hold the server up"
    assert gone(workers)
    assert not list(server.data.glob("*-wal")), "the database is closed properly"


def test_expired_applications_free_capacity(start: Start) -> None:
    lifetime = 6.0  # within which a busy machine fills an application
    server = start(application_hours=lifetime / 3600, maximum_applications=2).wait()
    application = server.filled()
    other = server.open()
    full = server.http.post("/applications")
    assert (full.status_code, code_of(full)) == (429, "too-many-applications")
    path = f"/applications/{application.client_id}/events"
    with server.http.stream("GET", path, headers=application.auth(), timeout=20) as stream:
        assert b"event: state" in stream.read(), "ends when its time is over"
    answer = application.run()
    assert (answer.status_code, code_of(answer)) == (410, "application-expired")
    deadline = time.monotonic() + 10
    while server.blobs() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.blobs() == []
    assert code_of(application.output()) == "application-expired", "and so it stays once erased"
    assert code_of(other.join(other.parties[0])) == "application-expired"
    assert server.open().client_id


def test_server_reports_starting_and_failure_to_start(start: Start) -> None:
    server = start(deployment="missing")
    while (answer := server.health()) is None or answer.headers[
        "content-type"
    ] == "application/json":
        if answer is not None:
            assert (answer.status_code, answer.json()["status"]) == (503, "starting")
            refusal = server.http.get("/model")
            assert refusal.status_code == 503
            assert code_of(refusal) in ("engine-unavailable", "deployment-missing")
    assert (answer.status_code, code_of(answer)) == (503, "deployment-missing")
    assert answer.headers["retry-after"]
    assert code_of(server.http.post("/applications")) == "deployment-missing"
    large = {"files": ("slice", bytes(1_000_000))}
    sent = server.http.post("/send_file", data={"client_id": "0" * 32}, files=large)
    assert code_of(sent) == "deployment-missing", "and not that it is too large"
    server.stop()

    server = start(deployment="abort").wait(503)
    deadline = time.monotonic() + 20
    while "type" not in server.http.get("/health").json() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert code_of(server.http.get("/health")) == "engine-unavailable"


def test_many_concurrent_applications_succeed(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        applications = list(pool.map(lambda _: server.filled(), range(8)))
        answers = list(pool.map(lambda a: a.run(), applications))
    assert [a.status_code for a in answers] == [200] * 8
    for application in applications:
        application.erase()
