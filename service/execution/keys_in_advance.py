"""The applications whose keys are being loaded in advance, for which their runs wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from service.execution.interface import Reporter, RunProgress


class KeysInAdvance:
    """Events by store; for use from one event loop.

    A run that found its worker busy with this would load the key a second time in another worker,
    or wait without saying for what.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, asyncio.Event] = {}

    @contextmanager
    def loading(self, store: str) -> Iterator[None]:
        """Note that the key of an application is loaded in the context."""
        loaded = self._loaded[store] = asyncio.Event()
        try:
            yield
        finally:
            if self._loaded.get(store) is loaded:
                del self._loaded[store]
            loaded.set()

    async def wait(self, store: str, report: Reporter) -> float:
        """Wait until the key of an application is loaded; return the seconds.

        Returns 0 at once if it is not being loaded.
        """
        loaded = self._loaded.get(store)
        if loaded is None:
            return 0.0
        start = perf_counter()
        report(RunProgress(phase="loading_key"))
        await loaded.wait()
        return perf_counter() - start
