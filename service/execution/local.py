"""The default executor: worker processes on the server's own machine."""

from __future__ import annotations

import asyncio
import itertools
import logging

from engines.interface import Progress
from service.execution import tasks
from service.execution.interface import Evaluation, Executor, Introduction, WorkerLostError
from service.execution.pool import Pool
from service.execution.running import RunningEvaluations
from service.execution.worker import EngineLoader, EngineSource
from service.execution.worker_process import LOAD_SECONDS, WorkerProcess
from service.storage.blobs import BlobPlace
from settings import Settings
from utils.errors import TrisealError

logger = logging.getLogger("triseal.workers")

ALIVE_SECONDS = 20.0


class LocalExecutor(Executor):
    """`settings.workers` processes, each with the whole engine."""

    def __init__(self, settings: Settings, place: BlobPlace, loader: EngineLoader) -> None:
        source = EngineSource.of(settings, loader)
        self._seconds = settings.evaluation_timeout
        self._pool = Pool(
            [
                WorkerProcess(
                    source,
                    place,
                    niceness=settings.evaluation_niceness,
                    report=self._report,
                    changed=self._wake,
                )
                for _ in range(settings.workers)
            ],
            lambda worker: worker.ready,
        )
        self._under_way = RunningEvaluations()
        self._tickets = itertools.count(1)
        self._listeners: dict[int, Progress] = {}

    @property
    def capacity(self) -> int:
        return len(self._pool.workers)

    @property
    def ready(self) -> bool:
        return self._pool.ready > 0

    async def start(self) -> Introduction:
        first, *_ = await asyncio.gather(*(worker.start() for worker in self._pool.workers))
        return first

    async def evaluate(self, evaluation: Evaluation, progress: Progress) -> tuple[bytes, float]:
        return await self._under_way.run(evaluation.job, self._evaluate(evaluation, progress))

    async def _evaluate(self, evaluation: Evaluation, progress: Progress) -> tuple[bytes, float]:
        ticket = next(self._tickets)
        self._listeners[ticket] = progress
        try:
            store = evaluation.store
            async with self._pool.lend_answering(store, LOAD_SECONDS, _answers) as worker:
                return await worker.call(
                    self._seconds,
                    tasks.evaluate,
                    evaluation.program,
                    store,
                    evaluation.messages,
                    ticket,
                    evaluation.seed,
                )
        finally:
            del self._listeners[ticket]

    async def warm(self, evaluation: Evaluation) -> None:
        if not self._pool.idle:
            return
        try:
            async with self._pool.lend(evaluation.store, LOAD_SECONDS) as worker:
                await worker.call(self._seconds, tasks.warm, evaluation.store, evaluation.messages)
        except WorkerLostError as lost:
            logger.error("warming the engine ended its worker (%s)", lost.how)
        except TrisealError as error:
            logger.warning("cannot warm the engine: %s", error.message)

    def cancel(self, job: str) -> None:
        self._under_way.cancel(job)

    async def forget(self, store: str) -> None:
        self._pool.forget(store)
        await asyncio.gather(*(worker.forget(store) for worker in self._pool.workers))

    async def stop(self) -> None:
        self._under_way.close()
        await asyncio.gather(*(worker.stop() for worker in self._pool.workers))
        await self._under_way.stop()

    def _wake(self) -> None:
        self._pool.wake()

    def _report(self, ticket: int, share: float) -> None:
        listener = self._listeners.get(ticket)
        if listener is not None:
            listener(share)


async def _answers(worker: WorkerProcess) -> bool:
    try:
        await worker.call(ALIVE_SECONDS, tasks.alive)  # a worker that fails this is replaced
    except WorkerLostError as lost:
        logger.error("a worker was lost before it had a job (%s)", lost.how)
        return False
    return True
