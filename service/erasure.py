"""Erasure of an application: first its rows, which hides it, then everything they referred to.

The second step runs in parallel, since each part of it waits for a disk or a worker. Anything that
a crash leaves behind has no row and is removed as an orphan (service/garbage_collector.py).
"""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool

from service.applications.applications import Applications, Removed
from service.applications.events import Events
from service.execution.interface import Executor
from service.jobs.scheduler import Scheduler
from service.storage.storage import Storage
from utils.errors import StorageError, StorageUnavailable


class Erasure:
    """Erases applications; for use from one event loop.

    The methods raise the errors of Applications.remove, and StorageUnavailable if some of the data
    could not be removed yet; the application can no longer be found in that case either.
    """

    def __init__(
        self,
        storage: Storage,
        applications: Applications,
        scheduler: Scheduler,
        executor: Executor,
        events: Events,
    ) -> None:
        self._storage = storage
        self._applications = applications
        self._scheduler = scheduler
        self._executor = executor
        self._events = events

    async def erase(self, client_id: str, token: str | None) -> None:
        """Erase all of an application's data; a run in progress is stopped."""
        removed = await run_in_threadpool(self._applications.remove, client_id, token)
        await self._wipe(client_id, removed)

    async def erase_for_operator(self, client_id: str) -> None:
        """Erase an application as `erase` does, without a party's token."""
        removed = await run_in_threadpool(self._applications.remove_for_operator, client_id)
        await self._wipe(client_id, removed)

    async def _wipe(self, client_id: str, removed: Removed) -> None:
        for job in removed.jobs:
            self._scheduler.end(job)
        self._events.changed(client_id)
        parts = await asyncio.gather(
            self._executor.forget(removed.store),
            run_in_threadpool(self._storage.remove_store, removed.store),
            run_in_threadpool(self._storage.scrub),
            return_exceptions=True,
        )
        for fault in filter(None, parts):
            if not isinstance(fault, StorageError):
                raise fault
            raise StorageUnavailable(
                "The application is gone, but the server could not yet remove all of its files; "
                "it will do so when its storage works again."
            ) from fault
