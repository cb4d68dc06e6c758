"""Evaluations on a Ray cluster, on any node with room.

This process joins the cluster through the Ray that runs on the same machine, and never starts one.
It puts an application's messages into the cluster's object store once, for all nodes, and assigns
an application to the actor that had it last, which still has its keys. The actors belong to this
process and end with it, even if it crashes. Every node needs the project and the deployment at the
same paths.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re

# Otherwise a late call, after this process has left, would make Ray start a cluster here.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

import ray

from service.execution.interface import (
    Evaluated,
    Evaluation,
    Executor,
    Introduction,
    Reporter,
    RunProgress,
    WorkerLostError,
)
from service.execution.keys_in_advance import KeysInAdvance
from service.execution.pool import Pool
from service.execution.ray.objects import MessageObjects, room_for_messages
from service.execution.ray.worker import MessageLostError, RayWorker, make_actor
from service.execution.running import RunningEvaluations
from service.execution.worker import EngineLoader, EngineSource
from service.storage.blobs import BlobPlace
from settings import ROOT, Settings
from utils.errors import EngineUnavailable, TrisealError

logger = logging.getLogger("triseal.workers")

NAMESPACE = "triseal"
PROBE_SECONDS = 5.0
CONNECT_SECONDS = 60.0
LEND_SECONDS = 60.0
POLL_SECONDS = 0.25
"""Interval between queries of an actor's progress."""
WATCH_SECONDS = 5.0
"""Interval between checks that idle actors respond."""
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")


class RayExecutor(Executor):
    """`settings.workers` actors; Ray ends this process if the cluster is lost for a minute."""

    def __init__(self, settings: Settings, place: BlobPlace, loader: EngineLoader) -> None:
        self._address = settings.ray_address
        self._seconds = settings.evaluation_timeout
        source = EngineSource.of(settings, loader)
        self._pool = Pool(
            [RayWorker(lambda: make_actor(source), self._wake) for _ in range(settings.workers)],
            lambda worker: worker.ready,
        )
        self._place = place
        self._objects = MessageObjects(place, 0)
        self._under_way = RunningEvaluations()
        self._keys = KeysInAdvance()
        self._starts: list[asyncio.Task[Introduction]] = []
        self._watch: asyncio.Task[None] | None = None

    @property
    def capacity(self) -> int:
        return self._pool.ready

    @property
    def ready(self) -> bool:
        return self._pool.ready > 0

    async def start(self) -> Introduction:
        """Join the cluster and wait for the first actor; the others start in the background."""
        if not ray.is_initialized():
            await self._join()
            self._objects = MessageObjects(self._place, await asyncio.to_thread(room_for_messages))
        introduction = await self._first()
        for worker in self._pool.workers:
            worker.expect(introduction)
        self._watch = self._watch or asyncio.create_task(self._watch_idle())
        return introduction

    async def evaluate(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        return await self._under_way.run(evaluation.job, self._evaluate(evaluation, report))

    async def load_key(self, evaluation: Evaluation) -> float | None:
        if not self._pool.idle:
            return None
        program, store = evaluation.program, evaluation.store
        try:
            with self._keys.loading(store):
                sent = await asyncio.to_thread(self._objects.of, evaluation)
                async with self._pool.lend_answering(store, LEND_SECONDS, _answers) as worker:
                    seconds: float = await worker.call(
                        self._seconds, "load_key", program, store, sent
                    )
                    return seconds
        except (WorkerLostError, MessageLostError) as error:
            logger.error("loading a key failed (%s)", error)
        except TrisealError as error:
            logger.warning("cannot load a key in advance: %s", error.message)
        return None

    def cancel(self, job: str) -> None:
        self._under_way.cancel(job)

    async def forget(self, store: str) -> None:
        self._pool.forget(store)
        self._objects.forget(store)
        await asyncio.gather(*(worker.forget(store) for worker in self._pool.workers))

    async def stop(self) -> None:
        self._under_way.close()
        for task in (*self._starts, *([self._watch] if self._watch else [])):
            task.cancel()
        if ray.is_initialized():
            await asyncio.gather(*(worker.stop() for worker in self._pool.workers))
        await self._under_way.stop()
        await asyncio.to_thread(ray.shutdown)

    async def _join(self) -> None:
        address = _ADDRESS.fullmatch(self._address or "")
        if address is None:
            raise EngineUnavailable(
                "TRISEAL_EXECUTOR=ray needs the cluster's address: set TRISEAL_RAY_ADDRESS to "
                "host:port of its head, as `ray start --head` prints it."
            )
        try:  # probed first, since Ray would try for a minute and may end the process
            async with asyncio.timeout(PROBE_SECONDS):
                _, probe = await asyncio.open_connection(
                    address["host"].strip("[]"), int(address["port"])
                )
            probe.close()
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.to_thread(_connect, address.string)
        except Exception as error:  # Ray raises many kinds of errors
            logger.warning("joining the cluster: %s", error)
            raise EngineUnavailable(
                f"The Ray cluster at {address.string} cannot be joined ({type(error).__name__}): "
                "check that its head runs there, that Ray runs on this machine too (`ray start "
                f"--address={address.string} --num-cpus=0`), and that all machines have the same "
                "versions of Python and Ray."
            ) from error

    async def _first(self) -> Introduction:
        """Return the introduction of the first actor that is ready; raises if none gets ready."""
        self._starts = [asyncio.create_task(worker.start()) for worker in self._pool.workers]
        fault: BaseException | None = None
        for start in self._starts:  # the others continue; their errors must count as retrieved
            start.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        for ended in asyncio.as_completed(self._starts):
            try:
                return await ended
            except TrisealError as error:
                fault = error
        raise fault or EngineUnavailable("There are no workers (TRISEAL_WORKERS).")

    async def _evaluate(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        waited = await self._keys.wait(evaluation.store, report)
        evaluated = await self._tried(evaluation, report)
        return evaluated._replace(loading_seconds=evaluated.loading_seconds + waited)

    async def _tried(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        try:
            return await self._attempt(evaluation, report)
        except MessageLostError:
            logger.warning("a message is lost from the object store; storing it again")
        self._objects.drop(evaluation.store)
        try:
            return await self._attempt(evaluation, report)
        except MessageLostError as error:
            raise WorkerLostError("died") from error

    async def _attempt(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        sent = await asyncio.to_thread(self._objects.of, evaluation)
        job, program, store = evaluation.job, evaluation.program, evaluation.store
        async with self._pool.lend_answering(store, LEND_SECONDS, _answers) as worker:
            polling = asyncio.create_task(_poll(worker, job, report))
            try:
                answer: Evaluated = await worker.call(
                    self._seconds, "evaluate", job, program, store, sent, evaluation.seed
                )
                return answer
            finally:
                polling.cancel()

    async def _watch_idle(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            looks = (self._look_at(worker) for worker in self._pool.idle)
            for fault in await asyncio.gather(*looks, return_exceptions=True):
                if isinstance(fault, Exception):  # the next round checks again
                    logger.error("checking an actor", exc_info=fault)

    async def _look_at(self, worker: RayWorker) -> None:
        if not await worker.alive() and worker in self._pool.idle:  # not lent out meanwhile
            _replace_silent(worker)

    def _wake(self) -> None:
        self._pool.wake()


def _connect(address: str) -> None:
    os.chdir(ROOT)  # actors import modules relative to this process's working directory
    ours = logging.getLogger("ray")
    ours.handlers.clear()
    ours.propagate = True
    ray.init(
        address=address,
        namespace=NAMESPACE,
        log_to_driver=False,
        configure_logging=False,
    )
    facts = {"node": ray.get_runtime_context().get_node_id(), "nodes": len(ray.nodes())}
    logger.info("joined the cluster", extra={"facts": facts})


async def _answers(worker: RayWorker) -> bool:
    if await worker.alive():
        return True
    _replace_silent(worker)
    return False


def _replace_silent(worker: RayWorker) -> None:
    if worker.ready:
        logger.error("an actor does not respond")
        worker.replace(kill=True)


async def _poll(worker: RayWorker, job: str, report: Reporter) -> None:
    latest: RunProgress | None = None
    while True:
        await asyncio.sleep(POLL_SECONDS)
        found: RunProgress | None = await worker.ask("progress", job)
        if found is not None and found != latest:
            latest = found
            report(found)
