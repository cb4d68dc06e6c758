"""Runs as durable jobs, on each database: one end, whichever server dies or is late."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines.interface import EXPLAIN, REASONS
from service.execution.interface import Evaluated
from service.jobs.queue import MOST_ATTEMPTS
from tests.service.played import Played
from tests.service.storages import DATABASES, database_settings, settings_of
from utils.errors import (
    AlreadyRunning,
    EvaluationFailed,
    OutOfStep,
    QueueFull,
    QuotaExceeded,
    UnknownApplication,
)

Make = Callable[..., Played]


@pytest.fixture(params=DATABASES)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    from service.storage.storage import Storage

    opened: list[Storage] = []

    def play(**change: object) -> Played:
        settings = settings_of(
            tmp_path / "data", **database_settings(request, request.param), **change
        )
        opened.append(Storage(settings))
        return Played(opened[-1], settings)

    yield play
    for storage in opened:
        storage.close()


@pytest.fixture
def played(make: Make) -> Played:
    return make()


def status(played: Played, client_id: str, program: str = "decide") -> str:
    return played.jobs.look(client_id, program).status


def test_job_from_request_to_result(played: Played) -> None:
    opened, claim = played.running()
    assert status(played, opened.client_id) == "running"
    assert set(claim.evaluation.messages) == {
        (s.party, s.file_name) for s in played.public.slots if "decide" in s.needed_for
    }
    assert played.claims.hold(claim, 0.25)
    assert played.jobs.look(opened.client_id, "decide").progress == 0.25
    assert played.claims.finish(claim, Evaluated(b"result", 0.5, 0.25))
    state = played.jobs.look(opened.client_id, "decide")
    assert (state.status, state.seconds, state.attempts) == ("done", 0.5, 1)
    assert state.loading_seconds == 0.25
    token = played.tokens[opened.client_id]
    assert played.applications.output(opened.client_id, token, "decide") == b"result"
    assert played.applications.state(opened.client_id).state == "decided"


def test_repeated_request_returns_the_same_job(played: Played) -> None:
    opened = played.ready()
    job = played.ask(opened.client_id).job
    assert played.ask(opened.client_id).job == job
    claim = played.claims.claim()
    assert played.ask(opened.client_id).job == job
    with pytest.raises(AlreadyRunning):
        played.ask(opened.client_id, EXPLAIN)
    played.claims.finish(claim, Evaluated(b"result", 0.5, 0.25))
    assert played.ask(opened.client_id).job == job
    assert played.claims.claim() is None, "asked for six times, run once"


def test_only_one_of_concurrent_claims_succeeds(played: Played) -> None:
    for _ in range(3):
        played.ask(played.ready().client_id)
    servers = [played.server(f"server {i}") for i in range(8)]
    barrier = threading.Barrier(8)

    def claim(i: int) -> object:
        barrier.wait()
        found = servers[i].claim()
        return None if found is None else found.evaluation.job

    with ThreadPoolExecutor(8) as pool:
        jobs = [job for job in pool.map(claim, range(8)) if job is not None]
    assert len(jobs) == len(set(jobs)) == 3


def test_expired_lease_loses_the_job_and_late_result_is_discarded(played: Played) -> None:
    opened, slow = played.running()
    assert played.claims.overdue() == 0
    played.clock.now += played.settings.lease_seconds
    other = played.server("b")
    assert other.overdue() == 1
    second = other.claim()
    assert second is not None and (second.attempt, slow.attempt) == (2, 1)
    before = played.blobs()
    assert not played.claims.finish(slow, Evaluated(b"late", 0.1, 0.25))
    assert not played.claims.hold(slow, 0.5)
    assert not played.claims.fail(slow, EvaluationFailed("late"))
    assert played.blobs() == before, "nothing of the late result is kept"
    assert other.finish(second, Evaluated(b"result", 0.5, 0.25))
    assert not played.claims.finish(slow, Evaluated(b"later", 0.1, 0.25))
    token = played.tokens[opened.client_id]
    assert played.applications.output(opened.client_id, token, "decide") == b"result"


def test_renewed_lease_keeps_the_job(played: Played) -> None:
    opened, claim = played.running()
    for _ in range(5):
        played.clock.now += played.settings.lease_seconds * 0.9
        assert played.claims.hold(claim, 0.1)
        assert played.server("b").overdue() == 0
    assert status(played, opened.client_id) == "running"


def test_job_fails_after_two_worker_crashes(played: Played) -> None:
    opened, claim = played.running()
    assert played.claims.crashed(claim) == "queued"
    claim = played.claims.claim()
    assert played.claims.crashed(claim) == "failed"
    state = played.jobs.look(opened.client_id, "decide")
    assert (state.status, state.error_code) == ("failed", "evaluation-failed")
    assert played.claims.claim() is None
    assert played.ask(opened.client_id).status == "queued", "a party may ask for it again"
    claim = played.claims.claim()
    assert played.claims.finish(claim, Evaluated(b"result", 0.5, 0.25))


def test_job_fails_after_repeated_server_crashes(played: Played) -> None:
    opened, _ = played.running()
    for attempt in range(2, MOST_ATTEMPTS + 1):
        assert played.claims.recover() == 1
        assert played.claims.claim().attempt == attempt
    played.claims.recover()
    assert status(played, opened.client_id) == "failed"


def test_a_job_given_back_by_a_stopping_server_continues(played: Played) -> None:
    opened, claim = played.running()
    later = played.ready()
    played.clock.now += 1
    played.ask(later.client_id)
    played.claims.give_back(claim)
    assert status(played, opened.client_id) == "queued"
    again = played.server("b").claim()
    assert again.client_id == opened.client_id, "in its old place"


def test_job_can_be_cancelled_while_queued_and_while_running(played: Played) -> None:
    waiting = played.ready()
    played.ask(waiting.client_id)
    token = played.tokens[waiting.client_id]
    assert played.jobs.cancel(waiting.client_id, token, "decide").status == "cancelled"
    assert played.claims.claim() is None
    opened, claim = played.running()
    token = played.tokens[opened.client_id]
    state = played.jobs.cancel(opened.client_id, token, "decide")
    assert (state.status, state.error_code) == ("cancelled", "run-cancelled")
    assert not played.claims.hold(claim, 0.5)
    assert not played.claims.finish(claim, Evaluated(b"result", 0.5, 0.25))
    assert played.applications.state(opened.client_id).state == "ready"
    played.ask(opened.client_id)
    assert played.claims.finish(played.claims.claim(), Evaluated(b"result", 0.5, 0.25))
    assert played.jobs.cancel(opened.client_id, token, "decide").status == "done", "too late"


def test_queue_and_runs_per_application_are_limited(make: Make) -> None:
    played = make(maximum_queued=2, application_runs=3)
    first, second, third = (played.ready() for _ in range(3))
    played.ask(first.client_id)
    played.ask(second.client_id)
    with pytest.raises(QueueFull) as full:
        played.ask(third.client_id)
    assert full.value.retry_seconds > 0
    assert played.ask(first.client_id).status == "queued", "one that waits is not in its own way"
    token = played.tokens[first.client_id]
    for _ in range(2):
        played.jobs.cancel(first.client_id, token, "decide")
        played.ask(first.client_id)
    played.jobs.cancel(first.client_id, token, "decide")
    with pytest.raises(QuotaExceeded):
        played.ask(first.client_id)


def test_a_run_that_waits_too_long_fails(played: Played) -> None:
    opened = played.ready()
    played.ask(opened.client_id)
    played.clock.now += played.settings.queue_timeout
    assert played.claims.overdue() == 1
    state = played.jobs.look(opened.client_id, "decide")
    assert (state.status, state.error_code) == ("failed", "evaluation-failed")


@pytest.mark.parametrize(("program", "other"), [(EXPLAIN, REASONS), (REASONS, EXPLAIN)])
def test_explanation_and_reasons_come_after_the_decision(
    played: Played, program: str, other: str
) -> None:
    opened = played.ready()
    with pytest.raises(OutOfStep):
        played.ask(opened.client_id, program)
    played.ask(opened.client_id)
    with pytest.raises(AlreadyRunning):
        played.ask(opened.client_id, program)
    played.claims.finish(played.claims.claim(), Evaluated(b"result", 0.5, 0.25))
    assert played.ask(opened.client_id, program).status == "queued"
    with pytest.raises(AlreadyRunning):
        played.ask(opened.client_id, other)


def test_the_result_of_an_erased_application_is_not_kept(played: Played) -> None:
    opened, claim = played.running()
    played.applications.remove(opened.client_id, played.tokens[opened.client_id])
    assert not played.claims.hold(claim, 0.5)
    assert not played.claims.finish(claim, Evaluated(b"result", 0.5, 0.25))
    assert played.blobs() == set()
    with pytest.raises(UnknownApplication):
        played.jobs.look(opened.client_id, "decide")


def test_queued_and_running_jobs_are_counted(played: Played) -> None:
    played.running()
    played.ask(played.ready().client_id)
    assert played.claims.counts() == (1, 1)
