"""What everything is given that keeps the books of applications: seats, slots, jobs, claims."""

from __future__ import annotations

import time
from collections.abc import Callable

from engines.interface import PublicModel
from service.storage.storage import Storage
from settings import Settings


class ApplicationService:
    """Where the books lie, the model they are kept for, the bounds, and a clock (seconds)."""

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
