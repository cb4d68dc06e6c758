"""Local worker processes: results, ends, caches and memory limits."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from service.execution import local
from service.execution.checker import Checker
from service.execution.interface import Evaluation, RunProgress, WorkerLostError
from service.execution.local import LocalExecutor
from settings import Settings
from tests.service.execution.orders import (
    PARTIES,
    Orders,
    error_of,
    nothing,
    open_things,
    right,
    settings,
    settles_at,
)
from trials.stand_in import SLOW_KEY, SLOW_KEY_SECONDS, load, message, public_model, told
from utils.errors import (
    DeploymentMissing,
    EngineUnavailable,
    EvaluationFailed,
    MalformedMessage,
    StoredDataDamaged,
)

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
MEMORY = 192


@pytest.fixture(scope="module")
def executor(runner: asyncio.Runner, orders: Orders) -> Iterator[LocalExecutor]:
    """Yield two workers with little memory and time, shared by all tests."""

    async def begin() -> LocalExecutor:
        made = LocalExecutor(
            settings(workers=2, worker_memory=MEMORY, evaluation_timeout=3.0), orders.place, load
        )
        introduction = await made.start()
        assert introduction.public == public_model()
        return made

    made = runner.run(begin())
    assert (made.capacity, made.ready) == (2, True)
    yield made
    runner.run(made.stop())


@pytest.fixture
def run(runner: asyncio.Runner, executor: LocalExecutor) -> Run[Any]:
    return runner.run


async def tell(executor: LocalExecutor, orders: Orders, store: str | None = None) -> dict[str, Any]:
    result, *_ = await executor.evaluate(orders.order(b"tell", store), nothing)
    return told(result)


async def both(executor: LocalExecutor, orders: Orders) -> list[dict[str, Any]]:
    """Return the `tell` report of each of the two workers."""
    while True:
        answers = await asyncio.gather(*(tell(executor, orders) for _ in range(2)))
        if len({answer["pid"] for answer in answers}) == 2:
            return list(answers)


def test_evaluation_reports_progress(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    reports: list[RunProgress] = []
    evaluation = orders.order(b"sleep 1", key=SLOW_KEY)
    result, seconds, loading = run(executor.evaluate(evaluation, reports.append))
    assert result == orders.expected(evaluation)
    assert seconds >= 1
    assert loading >= SLOW_KEY_SECONDS
    assert reports[0] == RunProgress(0.0, "loading_key", 1)
    assert {report.phase for report in reports[1:]} == {"evaluating"}
    shares = [report.share for report in reports]
    assert shares == sorted(shares)
    assert len(shares) >= 3


def test_run_waits_for_its_key_to_be_loaded_in_advance(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    """Otherwise the second, free worker would load the key as well."""

    async def play() -> None:
        reports: list[RunProgress] = []
        evaluation = orders.order(key=SLOW_KEY)
        loading = asyncio.create_task(executor.load_key(evaluation))
        await asyncio.sleep(0)  # it begins
        evaluated = await executor.evaluate(evaluation, reports.append)
        assert loading.done() and (await loading or 0) >= SLOW_KEY_SECONDS
        assert evaluated.result == orders.expected(evaluation)
        assert evaluated.loading_seconds > 0
        assert reports[0].phase == "loading_key"
        assert reports[-1].phase == "evaluating"
        holders = [
            orders.key_digest(evaluation) in one["kept"] for one in await both(executor, orders)
        ]
        assert sorted(holders) == [False, True]

    run(play())


def test_evaluation_is_cancelled_between_two_runs_of_the_model(
    run: Run[Any], executor: LocalExecutor, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker survives with its keys, unless the current run takes too long."""

    async def cancelled(order: bytes) -> tuple[str, list[RunProgress]]:
        reports: list[RunProgress] = []
        evaluation = orders.order(order)
        work = asyncio.create_task(executor.evaluate(evaluation, reports.append))
        while not any(report.runs > 1 for report in reports):
            await asyncio.sleep(0.02)
        executor.cancel(evaluation.job)
        executor.cancel(evaluation.job)  # a second time changes nothing
        lost = await error_of(work)
        assert isinstance(lost, WorkerLostError)
        return lost.how, reports

    async def play() -> None:
        before = {one["pid"] for one in await both(executor, orders)}
        how, reports = await cancelled(b"runs 3 0.5")
        assert how == "cancelled"
        assert {report.runs for report in reports[1:]} == {3}
        assert max(report.share for report in reports) < 1
        assert {one["pid"] for one in await both(executor, orders)} == before
        monkeypatch.setattr(local, "STOP_SECONDS", 0.1)
        assert (await cancelled(b"runs 2 60"))[0] == "cancelled"
        assert len({one["pid"] for one in await both(executor, orders)} & before) == 1

    run(play())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such bounds")
def test_evaluation_does_not_delay_other_processes(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    for answer in run(both(executor, orders)):
        worker = answer["pid"]
        assert os.getsid(worker) == worker != os.getsid(0)
        autogroup = Path(f"/proc/{worker}/autogroup")
        if autogroup.exists():
            assert f"nice {Settings().evaluation_niceness}" in autogroup.read_text()


def test_evaluations_run_concurrently_with_worker_affinity(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    async def play() -> None:
        assert len({answer["pid"] for answer in await both(executor, orders)}) == 2
        known = orders.order(b"tell")
        first = told((await executor.evaluate(known, nothing))[0])["pid"]
        for _ in range(3):
            assert await right(executor, orders, orders.order())
            assert (await tell(executor, orders, known.store))["pid"] == first
        # If its own worker is busy, the other one takes it.
        busy = asyncio.create_task(
            executor.evaluate(orders.order(b"sleep 1", known.store), nothing)
        )
        await asyncio.sleep(0.2)
        assert (await tell(executor, orders, known.store))["pid"] != first
        await busy

    run(play())


def test_unresponsive_worker_gets_no_job(
    run: Run[Any], executor: LocalExecutor, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "ALIVE_SECONDS", 0.5)

    async def play() -> None:
        known = orders.order(b"tell")
        last = told((await executor.evaluate(known, nothing))[0])["pid"]
        psutil.Process(last).suspend()  # like a killed process that has not died yet
        assert (await tell(executor, orders, known.store))["pid"] != last
        assert len({answer["pid"] for answer in await both(executor, orders)} - {last}) == 2

    run(play())


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        (b"refuse", EvaluationFailed),
        (b"fault", EvaluationFailed),
        (f"allocate {2 * MEMORY}".encode(), EvaluationFailed),
    ],
)
def test_a_failed_evaluation_leaves_its_worker_alive(
    run: Run[Any], executor: LocalExecutor, orders: Orders, order: bytes, fault: type[Exception]
) -> None:
    async def play() -> None:
        before = {answer["pid"] for answer in await both(executor, orders)}
        assert isinstance(await error_of(executor.evaluate(orders.order(order), nothing)), fault)
        assert {answer["pid"] for answer in await both(executor, orders)} == before

    run(play())


def test_memory_within_the_limit_can_be_allocated(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    assert run(right(executor, orders, orders.order(f"allocate {MEMORY // 3}".encode())))


def test_crash_timeout_and_cancellation_end_one_worker_only(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    async def lost(order: bytes, cancel: bool = False) -> str:
        evaluation = orders.order(order)
        work = asyncio.create_task(executor.evaluate(evaluation, nothing))
        if cancel:
            await asyncio.sleep(0.5)
            executor.cancel(evaluation.job)
        error = await error_of(work)  # type: ignore[arg-type]
        assert isinstance(error, WorkerLostError)
        return error.how

    async def play() -> None:
        executor.cancel("unknown")
        for order, cancel, how in (
            (b"abort", False, "died"),
            (b"sleep 60", False, "late"),
            (b"sleep 60", True, "cancelled"),
        ):
            before = {answer["pid"] for answer in await both(executor, orders)}
            other = orders.order(b"sleep 1")
            found = await asyncio.gather(lost(order, cancel), right(executor, orders, other))
            assert found == [how, True]
            after = {answer["pid"] for answer in await both(executor, orders)}
            assert len(before & after) == 1, "one was replaced"

    run(play())


def test_killed_idle_worker_is_replaced(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    async def play() -> None:
        before = {answer["pid"] for answer in await both(executor, orders)}
        for pid in before:
            psutil.Process(pid).kill()
        async with asyncio.timeout(30):
            while any(psutil.pid_exists(pid) for pid in before):
                await asyncio.sleep(0.01)
            after = {answer["pid"] for answer in await both(executor, orders)}
        assert not after & before

    run(play())


def test_cancelled_caller_stops_its_evaluation(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    async def play() -> None:
        before = {answer["pid"] for answer in await both(executor, orders)}
        work = asyncio.create_task(executor.evaluate(orders.order(b"sleep 60"), nothing))
        await asyncio.sleep(0.3)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        assert work.cancelled()
        after = {answer["pid"] for answer in await both(executor, orders)}
        assert len(before & after) == 1

    run(play())


def test_erased_application_is_forgotten_by_every_worker(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    async def kept() -> set[str]:
        answers = await both(executor, orders)
        return {digest for answer in answers for digest in answer["kept"]}

    async def play() -> None:
        one, other = orders.order(), orders.order()
        assert await right(executor, orders, one)
        await executor.load_key(other)
        assert {orders.key_digest(one), orders.key_digest(other)} <= await kept()
        await executor.forget(one.store)
        found = await kept()
        assert orders.key_digest(one) not in found
        assert orders.key_digest(other) in found

        # Even while workers are busy, and while the application itself is evaluated.
        busy = [orders.order(b"sleep 1.5"), orders.order(b"sleep 1.5")]
        work = [asyncio.create_task(executor.evaluate(e, nothing)) for e in busy]
        await asyncio.sleep(0.3)
        await asyncio.gather(executor.forget(other.store), executor.forget(busy[0].store))
        assert not any(one.done() for one in work), "it did not wait for them"
        await asyncio.gather(*work)
        found = await kept()
        assert orders.key_digest(other) not in found
        assert orders.key_digest(busy[0]) not in found
        assert orders.key_digest(busy[1]) in found

    run(play())


def test_a_damaged_or_missing_blob_is_an_error(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    async def fault(evaluation: Evaluation) -> BaseException | None:
        await executor.load_key(evaluation)
        return await error_of(executor.evaluate(evaluation, nothing))

    damaged, missing = orders.order(), orders.order()
    name = damaged.messages[PARTIES[1], "encrypted_inputs"]
    path = Path(orders.place.url.removeprefix("file://")) / damaged.store / name
    path.write_bytes(path.read_bytes()[:-1])
    orders.blobs.remove_store(missing.store)
    assert isinstance(run(fault(damaged)), StoredDataDamaged)
    assert isinstance(run(fault(missing)), StoredDataDamaged)


def test_evaluation_leaks_no_server_resources(
    run: Run[Any], executor: LocalExecutor, orders: Orders
) -> None:
    async def many(order: bytes, count: int) -> None:
        for _ in range(count):
            await error_of(executor.evaluate(orders.order(order), nothing))

    run(many(b"abort", 1))
    run(both(executor, orders))
    before = open_things()
    run(many(b"bits", 50))
    run(many(b"abort", 1))
    run(both(executor, orders))
    assert settles_at(before)


def test_crashing_check_ends_only_its_own_process(runner: asyncio.Runner, tmp_path: Path) -> None:
    slot = public_model().slots[1]
    good, bad, slow = (tmp_path / name for name in ("good", "bad", "fault"))
    good.write_bytes(message(slot.party, slot.file_name))
    bad.write_bytes(message(slot.party, slot.file_name, b"check abort"))
    slow.write_bytes(message(slot.party, slot.file_name, b"check fault"))

    async def play() -> None:
        checker = Checker(settings(worker_memory=MEMORY), load)
        await checker.start()
        assert checker.ready
        await checker.check(slot, good, intact=True)
        for path in (bad, slow):
            assert isinstance(await error_of(checker.check(slot, path, True)), MalformedMessage)
        await checker.check(slot, good, intact=False)
        await checker.stop()
        assert isinstance(await error_of(checker.check(slot, good, True)), EngineUnavailable)

    runner.run(play())


def test_engine_load_failure_reports_its_reason(
    runner: asyncio.Runner, orders: Orders, tmp_path: Path
) -> None:
    async def play() -> None:
        for name, fault in (("missing", DeploymentMissing), ("abort", EngineUnavailable)):
            made = LocalExecutor(settings(deployment=tmp_path / name), orders.place, load)
            assert not made.ready
            assert isinstance(await error_of(made.start()), fault)
            assert not made.ready
            await made.stop()

    runner.run(play())


def test_stop_ends_running_evaluations(runner: asyncio.Runner, orders: Orders) -> None:
    async def play() -> None:
        made = LocalExecutor(settings(), orders.place, load)
        await made.start()
        pid = (await tell(made, orders))["pid"]
        work = asyncio.create_task(made.evaluate(orders.order(b"sleep 60"), nothing))
        await asyncio.sleep(0.3)
        await made.stop()
        assert isinstance(await error_of(work), EngineUnavailable)  # type: ignore[arg-type]
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE

    runner.run(play())
