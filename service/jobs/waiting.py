"""Starting a run and waiting for its end; the run continues if the client disconnects."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from contract.http import ProgramState
from engines.interface import DECIDE
from service.applications.events import Change, Events, Subscription
from service.execution.interface import Executor
from service.jobs.queue import Jobs
from service.jobs.scheduler import Scheduler
from service.operations.metrics import IN_ADVANCE, Metrics
from service.storage.tables import CANCELLED, DONE, FAILED
from utils.errors import (
    ApplicationError,
    EvaluationFailed,
    ServerStopping,
    TrisealError,
    error_classes,
)

logger = logging.getLogger("triseal.runs")

GLANCE_SECONDS = 0.5
"""Interval at which a waiting call checks for a shutdown, or for the end of the run elsewhere."""


class Runs:
    """Starts, awaits and cancels runs for the parties; for use from one event loop."""

    def __init__(
        self,
        jobs: Jobs,
        scheduler: Scheduler,
        executor: Executor,
        events: Events,
        metrics: Metrics,
    ) -> None:
        self._jobs = jobs
        self._scheduler = scheduler
        self._executor = executor
        self._events = events
        self._metrics = metrics
        self._loading: set[asyncio.Task[None]] = set()

    async def ask(
        self, client_id: str, token: str | None, program: str, but: Subscription | None = None
    ) -> ProgramState:
        """Queue a program, and wake all subscribers except `but`; raises the errors of Jobs.ask."""
        state = await run_in_threadpool(self._jobs.ask, client_id, token, program)
        self._scheduler.wake()
        self._events.changed(client_id, Change(), but)
        return state

    async def run(self, client_id: str, token: str | None, program: str) -> float:
        """Queue a program, wait until it ends, and return the evaluation time in seconds.

        For a program that is done, returns the recorded time; one in progress is waited for. Raises
        the errors of Jobs.ask, the error of a failed evaluation, RunCancelled, and ServerStopping
        if the server stops before the run ends; the run continues when the server is back.
        """
        with self._events.subscribe(client_id) as changed:
            state = await self.ask(client_id, token, program)
            job = state.job
            while state.status not in (DONE, FAILED, CANCELLED) and state.job == job:
                if AppStatus.should_exit:
                    raise ServerStopping(
                        f"The server is shutting down; the run of {program} is kept and continues "
                        "when the server is back. Call again then."
                    )
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), GLANCE_SECONDS)
                changed.clear()
                state = await run_in_threadpool(self._jobs.look, client_id, program)
        if state.status == DONE:
            return float(state.seconds or 0.0)
        raise _fault_of(state, program)

    async def cancel(self, client_id: str, token: str | None, program: str) -> ProgramState:
        """Cancel a run that is queued or running; raises the errors of Jobs.cancel."""
        state = await run_in_threadpool(self._jobs.cancel, client_id, token, program)
        return self.cancelled(client_id, state)

    def cancelled(self, client_id: str, state: ProgramState) -> ProgramState:
        """Stop evaluating a run that has been cancelled in the database; return its state."""
        if state.status == CANCELLED and state.job is not None:
            self._scheduler.end(state.job)
        self._events.changed(client_id)
        return state

    def load_key(self, client_id: str) -> None:
        """Let a worker load the application's key in advance, in the background."""
        task = asyncio.create_task(self._load_key(client_id))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    async def stop(self) -> None:
        """Cancel the loading of keys in the background."""
        for task in self._loading:
            task.cancel()
        await asyncio.gather(*self._loading, return_exceptions=True)

    async def _load_key(self, client_id: str) -> None:
        try:
            evaluation = await run_in_threadpool(self._jobs.evaluation, client_id, DECIDE)
            seconds = await self._executor.load_key(evaluation)
        except ApplicationError:
            return  # erased in the meantime
        except TrisealError as error:
            logger.warning("cannot load a key in advance: %s", error.message)
        else:
            if seconds is not None:
                self._metrics.loaded_key(IN_ADVANCE, seconds)


def _fault_of(state: ProgramState, program: str) -> TrisealError:
    """Return the error that a job failed with."""
    cls = error_classes().get(state.error_code or "", EvaluationFailed)
    return cls(state.error or f"The run of {program} was replaced by another; run it again.")
