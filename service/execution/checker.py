"""The check of uploads, in a separate process on every server, whichever executor evaluates.

So a long evaluation does not delay uploads, and a message that crashes the engine affects neither
the server nor an evaluation.
"""

from __future__ import annotations

import logging
from pathlib import Path

from engines.interface import Slot
from service.execution import tasks
from service.execution.interface import Introduction, WorkerLostError
from service.execution.worker import EngineLoader, EngineSource
from service.execution.worker_process import WorkerProcess
from settings import Settings
from utils.errors import MalformedMessage

logger = logging.getLogger("triseal.workers")

CHECK_SECONDS = 120.0


class Checker:
    """Checks one message at a time; for use from one event loop."""

    def __init__(self, settings: Settings, loader: EngineLoader) -> None:
        self._process = WorkerProcess(EngineSource.of(settings, loader))

    @property
    def ready(self) -> bool:
        """True if the engine is loaded."""
        return self._process.ready

    async def start(self) -> Introduction:
        """Load the engine; raises EngineUnavailable, DeploymentError."""
        return await self._process.start()

    async def check(self, slot: Slot, path: Path, intact: bool) -> None:
        """Check that an uploaded file fits the slot; `intact` means that its digest was verified.

        Raises ForeignMessage, and MalformedMessage, also if the check crashes its process or takes
        too long.
        """
        try:
            await self._process.call(CHECK_SECONDS, tasks.check, slot, path, intact)
        except WorkerLostError as lost:
            logger.error("the check of %s's %s ended its worker", slot.party, slot.file_name)
            raise MalformedMessage(
                "The engine could not check this message; encrypt and send it again."
            ) from lost

    async def stop(self) -> None:
        """Stop the process."""
        await self._process.stop()
