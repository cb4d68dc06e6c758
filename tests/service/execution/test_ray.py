"""Actors on a real Ray cluster of two nodes: results, ends and caches.

The tests share one executor; each continues with the cluster that the previous one left.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engines.deployment import Deployment
from engines.interface import ENCRYPTED_INPUTS, PROGRAMS, PUBLIC_KEY
from engines.registry import load_joint_party_engine, load_server_engine
from model.polynomial import sample_states
from model.reference import reference_scores
from service.execution.interface import Evaluation, Executor, RunProgress, WorkerLostError
from service.execution.selection import executor_of, ray_executor
from service.execution.worker import load_registered
from settings import ROOT
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
from training.measure.joint_parties import JointParties
from trials.ray_nodes import RayNodes
from trials.stand_in import load, public_model, told
from utils.errors import EngineUnavailable, EvaluationFailed, StoredDataDamaged
from utils.ports import free_port

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MEMORY = 192
LARGE_KEY = secrets.token_bytes(2_000_000)


async def full(executor: Executor) -> None:
    """Wait until both actors are ready."""
    async with asyncio.timeout(60):
        while executor.capacity < 2:
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def executor(runner: asyncio.Runner, orders: Orders, ray_nodes: RayNodes) -> Iterator[Executor]:
    async def begin() -> Executor:
        made = executor_of(
            settings(
                executor="ray",
                ray_address=ray_nodes.address,
                workers=2,
                worker_memory=MEMORY,
                evaluation_timeout=4.0,
            ),
            orders.place,
            load,
        )
        assert not made.ready
        assert (await made.start()).public == public_model()
        assert made.ready
        await full(made)
        return made

    made = runner.run(begin())
    yield made
    runner.run(made.stop())
    assert not made.ready
    assert ray_nodes.actors() == [], "actors end with their executor"


@pytest.fixture
def run(runner: asyncio.Runner, executor: Executor) -> Run:
    runner.run(full(executor))
    return runner.run


async def tell(executor: Executor, orders: Orders, store: str | None = None) -> dict[str, Any]:
    result, *_ = await executor.evaluate(orders.order(b"tell", store), nothing)
    return told(result)


async def both(executor: Executor, orders: Orders) -> list[dict[str, Any]]:
    """Return the `tell` report of each of the two actors."""
    while True:
        answers = await asyncio.gather(*(tell(executor, orders) for _ in range(2)))
        if len({answer["pid"] for answer in answers}) == 2:
            return list(answers)


def test_actors_are_spread_with_application_affinity(
    run: Run, executor: Executor, orders: Orders, ray_nodes: RayNodes
) -> None:
    async def play() -> None:
        assert len(ray_nodes.actors()) == 2
        assert len(ray_nodes.actors(ray_nodes.second)) == 1
        assert {answer["pid"] for answer in await both(executor, orders)} == set(ray_nodes.actors())
        reports: list[RunProgress] = []
        evaluation = orders.order(b"sleep 1.5", key=LARGE_KEY)
        work = asyncio.create_task(executor.evaluate(evaluation, reports.append))
        await asyncio.sleep(0.3)
        other = await tell(executor, orders)
        result, seconds, _ = await work
        assert (result, seconds >= 1.5) == (orders.expected(evaluation), True)
        assert len(reports) >= 2
        shares = [report.share for report in reports]
        assert shares == sorted(shares)
        for _ in range(3):
            assert (await tell(executor, orders, evaluation.store))["pid"] != other["pid"]
        assert other["niceness"] > 0

    run(play())


def test_the_levelled_engine_opens_to_the_reference(
    run: Run, executor: Executor, orders: Orders, ray_nodes: RayNodes, levelled_deployment: Path
) -> None:
    deployment = Deployment.load(levelled_deployment)
    row = deployment.layout.bits_of_states(sample_states(deployment.layout, 1, seed=3))[0]

    async def play() -> None:
        cluster = executor_of(
            settings(
                engine="levelled",
                deployment=levelled_deployment,
                executor="ray",
                ray_address=ray_nodes.address,
            ),
            orders.place,
            load_registered,
        )
        introduction = await cluster.start()
        engine = load_joint_party_engine(introduction.public, introduction.client_files)
        party = JointParties(engine, list(PARTIES))
        keys = party.make_keys()
        sent = {(PARTIES[0], PUBLIC_KEY): keys.evaluation}
        for name in PARTIES:
            bits = row[deployment.layout.party_bits(name)]
            sent[name, ENCRYPTED_INPUTS] = party.encrypt(name, bits, keys.secret)
        store = secrets.token_hex(16)
        names = {key: orders.blobs.write(store, content) for key, content in sent.items()}
        local = load_server_engine("levelled", levelled_deployment)
        for program in PROGRAMS:
            evaluation = Evaluation(secrets.token_hex(16), program, store, names)
            result, *_ = await cluster.evaluate(evaluation, nothing)
            opened = party.open(program, result, keys.secret)
            assert opened == party.open(program, local.evaluate(program, sent), keys.secret)
            assert opened == reference_scores(deployment.programs_of("levelled")[program], row)
        await cluster.stop()

    run(play())


def test_node_failure_loses_no_evaluation(
    run: Run, executor: Executor, orders: Orders, ray_nodes: RayNodes
) -> None:
    places = asyncio.Semaphore(2)
    begun: set[str] = set()
    lost: list[str] = []

    async def see_through(evaluation: Evaluation) -> bool:
        async with places:
            while True:
                try:
                    result, *_ = await executor.evaluate(
                        evaluation, lambda share: begun.add(evaluation.job)
                    )
                    return result == orders.expected(evaluation)
                except WorkerLostError as error:
                    lost.append(error.how)

    async def play() -> None:
        evaluations = [orders.order(b"sleep 2", key=LARGE_KEY) for _ in range(2)]
        evaluations += [orders.order(b"sleep 0.2") for _ in range(16)]
        work = [asyncio.create_task(see_through(evaluation)) for evaluation in evaluations]
        while len(begun) < 2:
            await asyncio.sleep(0.05)
        (doomed,) = ray_nodes.actors(ray_nodes.second)
        ray_nodes.kill(ray_nodes.second)
        assert await asyncio.gather(*work) == [True] * len(work)
        assert lost == ["died"], "the evaluation on that node, and no other"
        assert not psutil.pid_exists(doomed)
        await full(executor)  # on the remaining node

    run(play())


def test_errors_are_returned_and_actors_survive(
    run: Run, executor: Executor, orders: Orders, ray_nodes: RayNodes
) -> None:
    async def fault(evaluation: Evaluation) -> BaseException | None:
        await executor.load_key(evaluation)
        return await error_of(executor.evaluate(evaluation, nothing))

    async def play() -> None:
        before = set(ray_nodes.actors())
        for order in (b"refuse", b"fault", f"allocate {2 * MEMORY}".encode()):
            assert isinstance(await fault(orders.order(order)), EvaluationFailed)
        damaged = orders.order()
        name = damaged.messages[PARTIES[1], ENCRYPTED_INPUTS]
        path = Path(orders.place.url.removeprefix("file://")) / damaged.store / name
        path.write_bytes(path.read_bytes()[:-1])
        assert isinstance(await fault(damaged), StoredDataDamaged)
        assert await right(executor, orders, orders.order())
        assert set(ray_nodes.actors()) == before

    run(play())


def test_erased_application_is_forgotten_by_busy_actors(
    run: Run, executor: Executor, orders: Orders
) -> None:
    async def kept() -> set[str]:
        answers = await both(executor, orders)
        return {digest for answer in answers for digest in answer["kept"]}

    async def play() -> None:
        one, other = orders.order(key=LARGE_KEY), orders.order(key=LARGE_KEY[:-1])
        assert await right(executor, orders, one)
        await executor.load_key(other)
        assert {orders.key_digest(one), orders.key_digest(other)} <= await kept()
        busy = [orders.order(b"sleep 2") for _ in range(2)]
        work = [asyncio.create_task(executor.evaluate(e, nothing)) for e in busy]
        await asyncio.sleep(0.3)
        await asyncio.gather(executor.forget(one.store), executor.forget(busy[0].store))
        assert not any(task.done() for task in work), "it did not wait for them"
        await asyncio.gather(*work)
        found = await kept()
        assert orders.key_digest(one) not in found
        assert orders.key_digest(busy[0]) not in found
        assert {orders.key_digest(other), orders.key_digest(busy[1])} <= found

    run(play())


def test_crash_timeout_and_cancellation_end_one_actor_only(
    run: Run, executor: Executor, orders: Orders, ray_nodes: RayNodes
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
        before = set(ray_nodes.actors())
        other = orders.order(b"sleep 1")
        found = await asyncio.gather(lost(b"abort"), right(executor, orders, other))
        assert found == ["died", True]
        await full(executor)
        assert len(before & set(ray_nodes.actors())) == 1, "one was replaced"
        found = await asyncio.gather(lost(b"sleep 60"), lost(b"sleep 60", cancel=True))
        assert found == ["late", "cancelled"]
        await full(executor)
        assert not before & set(ray_nodes.actors())
        assert await right(executor, orders, orders.order())

    run(play())


def test_evaluation_leaks_no_server_resources(run: Run, executor: Executor, orders: Orders) -> None:
    async def many() -> None:
        for _ in range(20):
            await executor.evaluate(orders.order(), nothing)

    run(many())
    before = open_things()
    run(many())
    assert settles_at(before)


def test_actors_end_with_their_process_which_is_restarted(
    run: Run, executor: Executor, orders: Orders, ray_nodes: RayNodes
) -> None:
    async def play() -> None:
        before = set(ray_nodes.actors())
        work = asyncio.create_task(executor.evaluate(orders.order(b"sleep 5"), nothing))
        await asyncio.sleep(0.3)
        (driver,) = (
            child
            for child in psutil.Process().children(recursive=True)
            if len(child.net_connections()) > 1  # to the cluster
        )
        driver.send_signal(signal.SIGKILL)
        for pending in (work, executor.evaluate(orders.order(), nothing)):
            assert isinstance(await error_of(pending), EngineUnavailable)  # type: ignore[arg-type]
        assert not executor.ready
        await full(executor)
        assert not before & set(ray_nodes.actors())
        assert await right(executor, orders, orders.order())

    run(play())


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (f"127.0.0.1:{free_port()}", "cannot be joined"),
        (None, "TRISEAL_RAY_ADDRESS"),
        ("auto", "TRISEAL_RAY_ADDRESS"),
        ("local", "TRISEAL_RAY_ADDRESS"),
        ("ray://127.0.0.1:10001", "TRISEAL_RAY_ADDRESS"),
    ],
    ids=["unreachable", "unset", "auto", "local", "client"],
)
def test_unreachable_cluster_is_reported(
    runner: asyncio.Runner, orders: Orders, address: str | None, said: str
) -> None:
    pytest.importorskip("ray")

    async def play() -> str:
        made = ray_executor(settings(executor="ray", ray_address=address), orders.place, load)
        with pytest.raises(EngineUnavailable) as caught:
            await made.start()
        await made.stop()
        return caught.value.message

    assert said in runner.run(play())


def test_call_after_stop_starts_no_cluster() -> None:
    pytest.importorskip("ray")
    late = "import service.execution.ray.cluster, ray; ray.put(b'late')"
    ended = subprocess.run(
        [sys.executable, "-c", late], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert "has not been started" in ended.stderr, ended.stderr


def test_missing_ray_error_says_what_to_install(
    runner: asyncio.Runner, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.startswith("service.execution.ray.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineUnavailable, match="make setup-cluster"):
        ray_executor(settings(executor="ray"), orders.place, load)
