"""The default executor: worker processes on the server's own machine."""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import dataclass

from service.execution import tasks
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
from service.execution.running import RunningEvaluations
from service.execution.worker import EngineLoader, EngineSource
from service.execution.worker_process import LOAD_SECONDS, WorkerProcess
from service.storage.blobs import BlobPlace
from settings import Settings
from utils.errors import RunCancelled, TrisealError

logger = logging.getLogger("triseal.workers")

ALIVE_SECONDS = 20.0
STOP_SECONDS = 20.0
"""Longest wait for a cancelled evaluation to end its current run of the model.

A worker that is killed instead has to load its engine again, and the keys of all its applications.
"""


@dataclass
class _Running:
    """An evaluation in a worker: its ticket, its latest progress, and the end of its patience."""

    ticket: int
    worker: WorkerProcess
    latest: RunProgress = RunProgress()  # noqa: RUF009 (immutable)
    stop: asyncio.TimerHandle | None = None


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
        self._listeners: dict[int, Reporter] = {}
        self._running: dict[str, _Running] = {}
        self._keys = KeysInAdvance()

    @property
    def capacity(self) -> int:
        return len(self._pool.workers)

    @property
    def ready(self) -> bool:
        return self._pool.ready > 0

    async def start(self) -> Introduction:
        first, *_ = await asyncio.gather(*(worker.start() for worker in self._pool.workers))
        return first

    async def evaluate(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        return await self._under_way.run(evaluation.job, self._evaluate(evaluation, report))

    async def _evaluate(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        store = evaluation.store
        waited = await self._keys.wait(store, report)
        async with self._pool.lend_answering(store, LOAD_SECONDS, _answers) as worker:
            running = _Running(next(self._tickets), worker)

            def told(found: RunProgress) -> None:
                running.latest = found
                report(found)

            self._listeners[running.ticket] = told
            self._running[evaluation.job] = running
            try:
                evaluated = await worker.call(
                    self._seconds,
                    tasks.evaluate,
                    evaluation.program,
                    store,
                    evaluation.messages,
                    running.ticket,
                    evaluation.seed,
                )
            except RunCancelled as error:
                raise WorkerLostError("cancelled") from error
            finally:
                del self._listeners[running.ticket]
                if self._running.get(evaluation.job) is running:
                    del self._running[evaluation.job]
                if running.stop is not None:
                    running.stop.cancel()
        return evaluated._replace(loading_seconds=evaluated.loading_seconds + waited)

    async def load_key(self, evaluation: Evaluation) -> float | None:
        if not self._pool.idle:
            return None
        store = evaluation.store
        try:
            with self._keys.loading(store):
                async with self._pool.lend(store, LOAD_SECONDS) as worker:
                    return await worker.call(
                        self._seconds, tasks.load_key, store, evaluation.messages
                    )
        except WorkerLostError as lost:
            logger.error("loading a key ended its worker (%s)", lost.how)
        except TrisealError as error:
            logger.warning("cannot load a key in advance: %s", error.message)
        return None

    def cancel(self, job: str) -> None:
        running = self._running.get(job)
        if running is None or running.latest.runs == 1:
            self._under_way.cancel(job)
        elif running.stop is None:
            running.worker.stop_evaluation(running.ticket)
            loop = asyncio.get_running_loop()
            running.stop = loop.call_later(STOP_SECONDS, self._under_way.cancel, job)

    async def forget(self, store: str) -> None:
        self._pool.forget(store)
        await asyncio.gather(*(worker.forget(store) for worker in self._pool.workers))

    async def stop(self) -> None:
        self._under_way.close()
        await asyncio.gather(*(worker.stop() for worker in self._pool.workers))
        await self._under_way.stop()

    def _wake(self) -> None:
        self._pool.wake()

    def _report(self, ticket: int, found: RunProgress) -> None:
        listener = self._listeners.get(ticket)
        if listener is not None:
            listener(found)


async def _answers(worker: WorkerProcess) -> bool:
    try:
        await worker.call(ALIVE_SECONDS, tasks.alive)  # a worker that fails this is replaced
    except WorkerLostError as lost:
        logger.error("a worker was lost before it had a job (%s)", lost.how)
        return False
    return True
