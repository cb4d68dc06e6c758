"""The services of trainings, as one server has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from service.storage.storage import Storage
from service.trainings.arrivals import Arrivals
from service.trainings.relay import TrainingRelay
from service.trainings.trainings import Trainings
from settings import Settings


@dataclass(frozen=True)
class TrainingServices:
    """The services; they exist as soon as the storage is open."""

    trainings: Trainings
    relay: TrainingRelay
    arrivals: Arrivals

    @classmethod
    def open(cls, storage: Storage, settings: Settings) -> Self:
        """Return the services on a storage; call it in the event loop."""
        return cls(Trainings(storage, settings), TrainingRelay(storage), Arrivals())
