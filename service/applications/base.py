"""The common base of the services for applications, tokens, slots, jobs and claims."""

from __future__ import annotations

import time
from collections.abc import Callable

from engines.interface import PublicModel
from service.storage.storage import Storage
from settings import Settings


class ApplicationService:
    """A service with the storage, the public model, the settings and a clock (Unix seconds)."""

    def __init__(
        self,
        storage: Storage,
        public: PublicModel,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._public = public
        self._settings = settings
        self._clock = clock
