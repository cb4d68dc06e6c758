"""A run from its claim to its result: it goes on though the one who asked for it has gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool

from engines.interface import DECIDE
from service.applications import Applications
from service.evaluation import Evaluator
from service.events import Events
from service.metrics import DONE, ERASED, FAILED, Metrics
from utils.errors import (
    ApplicationError,
    ApplicationExpired,
    EngineUnavailable,
    EvaluationFailed,
    TrisealError,
    UnknownApplication,
)

logger = logging.getLogger("triseal.runs")

T = TypeVar("T")


class Runs:
    """The runs and warm-ups under way, and their progress."""

    def __init__(
        self,
        applications: Applications,
        evaluator: Evaluator,
        events: Events,
        metrics: Metrics,
    ) -> None:
        self._applications = applications
        self._evaluator = evaluator
        self._events = events
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Any]] = set()
        self.progress: dict[tuple[str, str], float] = {}
        """The finished share of each running program, by (client_id, program)."""

    async def run(self, client_id: str, token: str | None, program: str) -> float:
        """Run a program and keep its result; answers the seconds of its evaluation.

        One that has been done already answers its recorded seconds. Raises what
        Applications.begin_run and Evaluator.evaluate raise.
        """
        try:
            return await asyncio.shield(self._spawn(self._run(client_id, token, program)))
        except asyncio.CancelledError as error:
            # Only the server's end cancels a request; its party gets an answer it understands.
            raise EngineUnavailable(
                f"The server is shutting down; run {program} again when it is back."
            ) from error

    def warm(self, client_id: str) -> None:
        """Have the engine prepare for this application, in the background."""
        self._spawn(self._warm(client_id))

    async def stop(self) -> None:
        """Cancel what is under way; runs cut off become idle at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Nobody may be left to ask for the error; asking here keeps asyncio from logging it.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return task

    async def _run(self, client_id: str, token: str | None, program: str) -> float:
        begun = await run_in_threadpool(self._applications.begin_run, client_id, token, program)
        if isinstance(begun, float):
            return begun
        self._note(client_id, program, 0.0)
        try:
            result, seconds = await self._evaluator.evaluate(
                program, begun, lambda share: self._note(client_id, program, share)
            )
            self._metrics.evaluated(program, seconds)
            await run_in_threadpool(
                self._applications.finish_run, client_id, program, seconds, result
            )
        except Exception as error:
            fault = _fault(error, program)
            self._metrics.ended(program, _outcome(fault))
            await run_in_threadpool(self._applications.fail_run, client_id, program, fault.message)
            raise fault from error
        finally:
            self.progress.pop((client_id, program), None)
            self._events.changed(client_id)
        self._metrics.ended(program, DONE)
        logger.info("run", extra={"facts": {"program": program, "seconds": round(seconds, 4)}})
        return seconds

    async def _warm(self, client_id: str) -> None:
        try:
            messages = await run_in_threadpool(self._applications.messages, client_id, DECIDE)
            await self._evaluator.warm(messages)
        except ApplicationError:
            return  # erased meanwhile
        except TrisealError as error:
            logger.warning("cannot warm the engine: %s", error.message)

    def _note(self, client_id: str, program: str, share: float) -> None:
        self.progress[client_id, program] = share
        self._events.changed(client_id)


def _outcome(fault: TrisealError) -> str:
    return ERASED if isinstance(fault, UnknownApplication | ApplicationExpired) else FAILED


def _fault(error: Exception, program: str) -> TrisealError:
    if isinstance(error, TrisealError):
        return error
    logger.error("the run of %s could not be kept", program, exc_info=error)
    return EvaluationFailed(f"The result of {program} could not be kept; run it again.")
