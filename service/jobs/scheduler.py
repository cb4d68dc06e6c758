"""The scheduler, which claims queued jobs while the executor has capacity and runs each to its end.

Every server has one, independent of the others: a job is claimed in the database and held by a
lease, which is renewed while the job is evaluated. If renewal stops, another server takes over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from starlette.concurrency import run_in_threadpool

from service.applications.events import WITNESSED_RUNS, Change, Events
from service.applications.live_runs import LiveRun
from service.execution.interface import Executor, RunProgress, WorkerLostError
from service.jobs.queue import Claim, Claims
from service.operations.metrics import CANCELLED, DONE, ERASED, FAILED, IN_RUN, Metrics
from utils.errors import (
    ApplicationError,
    EngineUnavailable,
    EvaluationFailed,
    StorageError,
    StorageUnavailable,
    TrisealError,
)

logger = logging.getLogger("triseal.jobs")

POLL_SECONDS = 0.5
"""Interval between searches for jobs without a wake-up: queued elsewhere, or given back."""
OVERDUE_SECONDS = 2.0
PAUSE_SECONDS = 0.5
"""Pause after a fault of the storage or the engine."""


class Scheduler:
    """The jobs that this server evaluates; to be used from one event loop."""

    def __init__(
        self,
        claims: Claims,
        executor: Executor,
        events: Events,
        metrics: Metrics,
        *,
        lease_seconds: float,
        evaluation_timeout: float,
    ) -> None:
        self._claims = claims
        self._executor = executor
        self._events = events
        self._metrics = metrics
        self._lease = lease_seconds
        self._timeout = evaluation_timeout
        self._woken = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self.live_runs: dict[tuple[str, str], LiveRun] = {}
        """The runs that this server evaluates, by (id, program)."""

    def start(self) -> None:
        """Start taking jobs."""
        self._loops = [asyncio.create_task(self._take()), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        """Stop taking jobs, and put those in progress back into the queue."""
        tasks = [*self._loops, *self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look for a job now; must be called in the event loop."""
        self._woken.set()

    def end(self, job: str) -> None:
        """Stop evaluating a cancelled or erased job if this server evaluates it."""
        self._executor.cancel(job)

    async def _take(self) -> None:
        while True:
            self._woken.clear()
            try:
                while len(self._under_way) < self._executor.capacity and self._executor.ready:
                    claim = await run_in_threadpool(self._claims.claim)
                    if claim is None:
                        break
                    self._begin(claim)
            except Exception as error:
                await self._pause("taking a job", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), POLL_SECONDS)

    async def _watch(self) -> None:
        while True:
            try:
                if count := await run_in_threadpool(self._claims.overdue):
                    logger.info("overdue", extra={"facts": {"jobs": count}})
                    self._events.changed_all()
            except Exception as error:
                await self._pause("looking for overdue jobs", error)
            await asyncio.sleep(OVERDUE_SECONDS)

    async def _pause(self, doing: str, error: Exception) -> None:
        if isinstance(error, StorageUnavailable):
            pass  # logged once, by the storage
        elif isinstance(error, TrisealError):
            logger.warning("%s: %s", doing, error.message)
        else:  # the next round tries again
            logger.error("%s", doing, exc_info=error)
        await asyncio.sleep(PAUSE_SECONDS)

    def _begin(self, claim: Claim) -> None:
        key = f"{claim.evaluation.job} {claim.attempt}"
        task = asyncio.create_task(self._see_through(claim))
        self._under_way[key] = task

        def ended(_: asyncio.Task[None]) -> None:
            del self._under_way[key]
            self._woken.set()

        task.add_done_callback(ended)

    async def _see_through(self, claim: Claim) -> None:
        facts = {
            "application": claim.client_id,
            "job": claim.evaluation.job,
            "program": claim.evaluation.program,
            "attempt": claim.attempt,
        }
        self.live_runs[claim.key] = LiveRun()
        self._events.changed(claim.client_id, Change())
        self._tell_witnesses(claim)
        keeping = asyncio.create_task(self._keep(claim))
        start = time.monotonic()
        try:
            outcome = await self._evaluate(claim)
        except asyncio.CancelledError:
            self._executor.cancel(claim.evaluation.job)
            await _settled(run_in_threadpool(self._claims.give_back, claim))
            raise
        except StorageUnavailable:
            # The row still names this server; when its lease runs out, the job is queued again.
            logger.warning("the end of a job could not be stored", extra={"facts": facts})
        except Exception:
            logger.exception("the end of a job could not be stored", extra={"facts": facts})
        else:
            took = round(time.monotonic() - start, 4)
            logger.info("job", extra={"facts": {**facts, "outcome": outcome, "seconds": took}})
        finally:
            keeping.cancel()
            self.live_runs.pop(claim.key, None)
            self._events.changed(claim.client_id)
            self._tell_witnesses(claim)

    async def _evaluate(self, claim: Claim) -> str:
        program = claim.evaluation.program
        try:
            evaluated = await self._executor.evaluate(
                claim.evaluation, lambda found: self._note(claim, found)
            )
        except WorkerLostError as lost:
            return await self._lost(claim, lost.how)
        except (EngineUnavailable, StorageError) as error:
            if isinstance(error, EngineUnavailable | StorageUnavailable):
                return await self._given_back(claim, error)
            return await self._failed(claim, error)
        except TrisealError as error:
            return await self._failed(claim, error)
        except Exception as error:
            logger.exception("evaluating")
            fault = EvaluationFailed(
                f"The evaluation of {program} failed with an internal error "
                f"({type(error).__name__}); run it again, and see the server's log if it fails "
                "again."
            )
            return await self._failed(claim, fault)
        self._metrics.evaluated(program, evaluated.seconds)
        self._metrics.loaded_key(IN_RUN, evaluated.loading_seconds)
        try:
            kept = await run_in_threadpool(self._claims.finish, claim, evaluated)
        except StorageUnavailable as error:  # for example, a full disk
            return await self._given_back(claim, error)
        self._metrics.ended(program, DONE if kept else ERASED)
        return DONE if kept else "not wanted"

    async def _lost(self, claim: Claim, how: str) -> str:
        program = claim.evaluation.program
        if how == "cancelled":
            self._metrics.ended(program, CANCELLED)
            return CANCELLED
        if how == "late":
            late = EvaluationFailed(
                f"The evaluation of {program} took longer than {self._timeout:g} seconds "
                "(TRISEAL_EVALUATION_TIMEOUT) and was given up."
            )
            return await self._failed(claim, late)
        logger.error("an evaluation ended its worker", extra={"facts": {"program": program}})
        became = await run_in_threadpool(self._claims.crashed, claim)
        if became == FAILED:
            self._metrics.ended(program, FAILED)
        return f"{how}, {became}"

    async def _given_back(self, claim: Claim, error: TrisealError) -> str:
        await run_in_threadpool(self._claims.give_back, claim)
        await self._pause("evaluating", error)
        return "given back"

    async def _failed(self, claim: Claim, error: TrisealError) -> str:
        erased = isinstance(error, ApplicationError)
        self._metrics.ended(claim.evaluation.program, ERASED if erased else FAILED)
        await run_in_threadpool(self._claims.fail, claim, error)
        return f"failed, {error.code}"

    async def _keep(self, claim: Claim) -> None:
        """Renew the claim until the job ends; stop the evaluation if the claim is lost."""
        while True:
            await asyncio.sleep(self._lease / 4)
            try:
                share = self.live_runs.get(claim.key, LiveRun()).share
                if not await run_in_threadpool(self._claims.hold, claim, share):
                    self._executor.cancel(claim.evaluation.job)
                    return
            except StorageUnavailable:
                continue  # logged once, by the storage
            except StorageError as error:
                logger.warning("renewing the claim on a job: %s", error.message)

    def _tell_witnesses(self, claim: Claim) -> None:
        if claim.evaluation.seed is not None:
            self._events.changed(WITNESSED_RUNS)

    def _note(self, claim: Claim, found: RunProgress) -> None:
        before = self.live_runs.get(claim.key, LiveRun())
        self.live_runs[claim.key] = before.after(found, time.monotonic())
        self._events.changed(claim.client_id, Change())


async def _settled(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that a second cancellation must not interrupt; log its error."""
    task = asyncio.ensure_future(work)
    with suppress(asyncio.CancelledError):
        await asyncio.wait([task])
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        logger.error("a job could not be given back: %s", type(error).__name__)
