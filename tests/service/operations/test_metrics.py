"""The server's metrics and its two health probes, neither of which discloses any names."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engines.interface import EVALUATION_KEY, EXPLAIN, EXPLANATION_INPUTS
from service.app import create_app
from service.operations.metrics import (
    CANCELLED,
    DONE,
    FAILED,
    IN_ADVANCE,
    IN_RUN,
    OUTCOMES,
    PROGRAM_NAMES,
    SLOT_NAMES,
    Metrics,
)
from settings import Settings
from tests.service.driver import Server, code_of
from trials.stand_in import SLOW_KEY, SLOW_KEY_SECONDS, load, message
from utils.errors import error_classes

Start = Callable[..., Server]
Figures = dict[tuple[str, ...], float]

LABELS = {
    "program": set(PROGRAM_NAMES),
    "outcome": set(OUTCOMES),
    "slot": set(SLOT_NAMES),
    "when": {IN_ADVANCE, IN_RUN},
    "state": {"queued", "running"},
    "code": {*error_classes(), "http-404", "http-405", "http-500"},
}


def text_of(server: Server) -> str:
    answer = server.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return answer.text


def figures_of(server: Server) -> Figures:
    """Return all samples except buckets, by name and label values."""
    return {
        (
            sample.name.removeprefix("triseal_"),
            *(sample.labels[name] for name in LABELS if name in sample.labels),
        ): sample.value
        for family in text_string_to_metric_families(text_of(server))
        for sample in family.samples
        if "le" not in sample.labels
    }


def until(server: Server, *key: str, value: float) -> None:
    deadline = time.monotonic() + 10
    while (found := figures_of(server).get(key)) != value:
        assert time.monotonic() < deadline, f"{key} is {found}, not {value}"
        time.sleep(0.02)


@pytest.fixture
def own(start: Start) -> Server:
    """Return a server whose metrics do not include applications of other tests."""
    return start().wait()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a server whose figures only the tests that share it change, in their order here."""
    running = Server(tmp_path_factory.mktemp("counted") / "data")
    yield running.wait()
    running.stop()


def test_every_series_exists_from_the_start(counted: Server) -> None:
    figures = figures_of(counted)
    told = {key for key, value in figures.items() if value}
    assert told <= {("response_bytes_total",)}, "what the health was asked with"
    assert {key[1:] for key in figures if key[0] == "runs_total"} == {
        (program, outcome) for program in PROGRAM_NAMES for outcome in OUTCOMES
    }
    assert {key[1] for key in figures if key[0] == "received_bytes_total"} == set(SLOT_NAMES)


def test_complete_application_is_counted(counted: Server) -> None:
    application = counted.filled()
    first, second, *_ = application.parties
    assert application.send(first, EVALUATION_KEY, payload=SLOW_KEY).status_code == 200
    application.run()
    application.run()
    results = [application.output(), application.output(headers=application.auth(second))]
    application.explanation()
    application.run(EXPLAIN)
    body = base64.b64encode(b"sealed").decode()
    posted = counted.http.post(
        f"/applications/{application.client_id}/messages",
        json={"step": "hello", "body": body},
        headers=application.auth(),
    )
    assert posted.status_code == 200
    figures = figures_of(counted)
    assert figures["applications",] == 1
    assert figures["runs_total", "decide", "done"] == 1, "what is done already is no run"
    assert figures["runs_total", "explain", "done"] == 1
    assert figures["evaluation_seconds_count", "decide"] == 1
    assert 0 < figures["evaluation_seconds_sum", "decide"] < 5
    # Loaded in advance, for which the run waits, or by the run if the worker was busy then.
    loaded = {when: figures["key_loading_seconds_sum", when] for when in (IN_ADVANCE, IN_RUN)}
    assert max(loaded.values()) >= SLOW_KEY_SECONDS
    assert figures["received_bytes_total", EVALUATION_KEY] == sum(
        len(message(first, EVALUATION_KEY, *own)) for own in ((), (SLOW_KEY,))
    )
    assert figures["received_bytes_total", EXPLANATION_INPUTS] > 0
    assert figures["result_bytes_total", "decide"] == sum(len(r.content) for r in results)
    assert figures["result_bytes_total", "explain"] == 0
    assert figures["relay_messages_total",] == 1
    assert not [key for key in figures if key[0] == "problems_total"]
    assert application.erase().status_code == 204
    assert figures_of(counted)["applications",] == 0


def test_failed_and_cancelled_runs_are_counted_separately(own: Server) -> None:
    assert code_of(own.filled(b"refuse").run()) == "evaluation-failed"
    cancelled = own.filled(b"sleep 30")
    assert cancelled.queue().status_code == 202
    until(own, "jobs", "running", value=1)
    assert cancelled.cancel().status_code == 200
    until(own, "runs_total", "decide", CANCELLED, value=1)
    erased = own.filled(b"sleep 1")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(erased.run)
        until(own, "jobs", "running", value=1)
        assert erased.erase().status_code == 204
        assert code_of(running.result()) == "unknown-application"
    figures = figures_of(own)
    ended = {outcome: figures["runs_total", "decide", outcome] for outcome in OUTCOMES}
    assert (ended.pop(DONE), ended.pop(FAILED)) == (0, 1)
    assert sum(ended.values()) == 2, "one was cancelled, one erased"
    assert figures["problems_total", "evaluation-failed"] == 1
    assert figures["problems_total", "unknown-application"] == 1


def test_queued_and_running_evaluations_are_counted(counted: Server) -> None:
    orders = [counted.filled(b"sleep 1") for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(one.run) for one in orders]
        until(counted, "jobs", "queued", value=2)
        until(counted, "jobs", "running", value=1)
        assert [run.result().status_code for run in runs] == [200, 200, 200]
    assert figures_of(counted)["jobs", "queued"] == 0
    assert figures_of(counted)["jobs", "running"] == 0


def test_each_problem_is_counted_once_by_its_code(counted: Server) -> None:
    counted.http.get("/nowhere")
    counted.http.put("/model")
    counted.http.get("/applications/x")
    counted.http.post("/applications", json={"readers": ["nobody"]})
    counted.http.post("/applications", content=b"x" * 100_000)  # its length is declared
    json = {"Content-Type": "application/json"}
    counted.http.post("/applications", content=(b"x" * 50_000 for _ in range(3)), headers=json)
    figures = figures_of(counted)
    assert {key[1]: value for key, value in figures.items() if key[0] == "problems_total"} == {
        "http-404": 1,
        "http-405": 1,
        "invalid-request": 1,
        "unknown-party": 1,
        "upload-too-large": 2,
    }


def test_metrics_contain_no_ids_or_names(counted: Server) -> None:
    """Run an application, with rejected calls that put its secrets where labels might take them."""
    application = counted.filled()
    first, *_ = application.parties
    tokens = list(application.tokens.values())
    opened = counted.http.post("/applications").json()
    secrets = [application.client_id, *application.codes.values(), *tokens]
    secrets += [opened["client_id"], opened["watch_token"], *opened["join_codes"].values()]
    for secret in secrets:
        application.run(secret)
        application.output(secret)
        application.send(first, content=b"sealed", file_name=secret)
        application.send(secret, content=b"sealed", headers=application.auth())
        application.join(first, secret)
        counted.http.get(f"/{secret}")
        counted.http.get(f"/applications/{secret}", headers={"Authorization": f"Bearer {secret}"})
    application.run()
    application.output()
    application.explanation()
    application.run(EXPLAIN)
    text = text_of(counted)
    assert "evaluation_seconds" in text and "unknown-name" in text
    for secret in (*secrets, *application.parties):
        assert secret not in text
        assert secret[:8] not in text or secret in application.parties
    names = [line.rpartition(" ")[0] for line in text.splitlines()]  # the value is the last field
    assert [name for name in names if re.search("[0-9a-f]{16}", name)] == [], "no id, no digest"
    for name, value in re.findall(r'(\w+)="([^"]*)"', text):
        assert name == "le" or value in LABELS[name]


def test_unlisted_label_values_become_other() -> None:
    metrics = Metrics()
    metrics.sent("a" * 32, 1)
    metrics.received("b" * 32, 1)
    metrics.refused(b'{"type": "urn:triseal:error:' + b"c" * 32 + b'"}', 418)
    text = metrics.text(applications=0, queued=0, running=0).decode()
    assert 'triseal_result_bytes_total{program="other"} 1.0' in text
    assert 'triseal_received_bytes_total{slot="other"} 1.0' in text
    assert 'triseal_problems_total{code="http-418"} 1.0' in text
    assert not any(letter * 32 in text for letter in "abc")


def test_apps_of_one_process_count_separately() -> None:
    create_app(Settings(), load)
    create_app(Settings(), load)
    one, other = Metrics(), Metrics()
    one.relayed()
    assert b"relay_messages_total 1.0" in one.text(applications=0, queued=0, running=0)
    assert b"relay_messages_total 0.0" in other.text(applications=0, queued=0, running=0)


def test_probes_report_live_and_ready(counted: Server, start: Start) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = counted.http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})

    server = start(deployment="missing").wait(503)
    deadline = time.monotonic() + 30
    while (ready := server.http.get("/health/ready")).json()["status"] == "starting":
        assert time.monotonic() < deadline
        assert ready.status_code == 503
        time.sleep(0.02)
    assert (ready.status_code, ready.json()) == (503, {"status": "failed"})
    assert server.http.get("/health/live").status_code == 200
    assert figures_of(server)["applications",] == 0, "the figures are there without an engine"


def test_not_ready_while_a_worker_is_replaced(counted: Server) -> None:
    application = counted.filled(b"abort")
    seen = []
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(application.run)
        deadline = time.monotonic() + 30
        while not run.done() or seen[-1] != 200:
            assert time.monotonic() < deadline
            seen.append(counted.http.get("/health/ready").status_code)
            assert counted.http.get("/health/live").status_code == 200
    assert 503 in seen
