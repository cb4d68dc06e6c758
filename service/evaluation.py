"""The engine, seen from the server: checks and evaluations, done in two worker processes.

One evaluates and one checks what arrives, so that a long evaluation does not hold up uploads, and
a message that brings down the engine brings down neither the server nor a running evaluation.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from pathlib import Path

from engines.interface import Progress, Slot
from service import worker
from service.worker import EngineLoader, Introduction, Messages
from service.workers import WorkerLostError, WorkerProcess
from settings import Settings
from utils.errors import DeploymentMixed, EvaluationFailed, MalformedMessage

logger = logging.getLogger("triseal.evaluation")

CHECK_SECONDS = 120.0


class Evaluator:
    """What the server asks of its engine; to be used from one event loop."""

    def __init__(self, settings: Settings, loader: EngineLoader) -> None:
        self._seconds = settings.evaluation_timeout
        self._evaluating = WorkerProcess(loader, settings, self._report)
        self._checking = WorkerProcess(loader, settings, self._report)
        self._tickets = itertools.count(1)
        self._listeners: dict[int, Progress] = {}

    @property
    def ready(self) -> bool:
        """Whether both workers have their engine loaded."""
        return self._evaluating.ready and self._checking.ready

    @property
    def under_way(self) -> tuple[int, int]:
        """How many evaluations wait for their turn, and how many have it."""
        running = int(self._evaluating.task is worker.evaluate)
        return len(self._listeners) - running, running

    async def start(self) -> Introduction:
        """Load the engine in both workers; raises EngineUnavailable, DeploymentError."""
        introduction, _ = await asyncio.gather(self._evaluating.start(), self._checking.start())
        found = hashlib.sha256(introduction.client_files).hexdigest()
        if found != introduction.public.client_sha256:
            raise DeploymentMixed(
                "The client files are not those that the model names; compile the model again."
            )
        return introduction

    async def check(self, slot: Slot, path: Path, intact: bool) -> None:
        """Conformance of an uploaded file, `intact` where its digest is known to be right.

        Raises MalformedMessage, ForeignMessage.
        """
        try:
            await self._checking.call(CHECK_SECONDS, worker.check, slot, path, intact)
        except WorkerLostError as lost:
            logger.error("the check of %s's %s ended its worker", slot.party, slot.file_name)
            raise MalformedMessage(
                "The engine could not get through this message; encrypt and send it again."
            ) from lost

    async def evaluate(
        self, program: str, messages: Messages, progress: Progress
    ) -> tuple[bytes, float]:
        """The sealed result of a program, and the seconds its evaluation took.

        `progress` is called in the event loop. Raises MalformedMessage, ForeignMessage,
        EvaluationFailed.
        """
        ticket = next(self._tickets)
        self._listeners[ticket] = progress
        try:
            return await self._evaluating.call(
                self._seconds, worker.evaluate, program, messages, ticket
            )
        except WorkerLostError as lost:
            logger.error("the evaluation of %s ended its worker (%s)", program, lost.how)
            raise EvaluationFailed(
                f"The evaluation of {program} took longer than {self._seconds:g} seconds "
                "(TRISEAL_EVALUATION_TIMEOUT) and was given up."
                if lost.how == "late"
                else f"The evaluation of {program} ended the worker; it has been replaced. Run "
                "it again, and see the server's log if it fails again."
            ) from lost
        finally:
            del self._listeners[ticket]

    async def warm(self, messages: Messages) -> None:
        """Prepare the first run of an application whose evaluation key is there."""
        try:
            await self._evaluating.call(self._seconds, worker.warm, messages)
        except WorkerLostError as lost:
            logger.error("warming the engine ended its worker (%s)", lost.how)

    async def stop(self) -> None:
        """End both workers."""
        await asyncio.gather(self._evaluating.stop(), self._checking.stop())

    def _report(self, ticket: int, share: float) -> None:
        listener = self._listeners.get(ticket)
        if listener is not None:
            listener(share)
