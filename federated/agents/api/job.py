"""The files of a training in a lender's folder: how it began and, afterwards, how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from federated.agents.api.views import TrainingEvent, TrainingFacts
from utils.atomic_files import write_atomic
from utils.errors import StoreDamaged
from utils.regular_files import read_regular

JOB, END = "job.json", "end.json"
_MOST_BYTES = 16 << 20


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the content of a file, or None if it does not exist; raises StoreDamaged."""
        try:
            found = read_regular(path, _MOST_BYTES)
        except FileNotFoundError:
            return None
        try:
            return cls.model_validate_json(b"" if found is None else found[0])
        except ValidationError as error:
            raise StoreDamaged(
                f"{path} cannot be read: it was altered or cut. Put that file back as it was, or "
                "remove the folder of this training, which then goes on without this agent."
            ) from error

    def write(self, path: Path) -> None:
        """Write the file atomically, for its user alone."""
        write_atomic(path, self.model_dump_json().encode())


class Job(_File):
    """A training that this agent takes part in; `hosts` if it coordinates it as well.

    `address` names the data. `cancelled` is the reason if a person has ended it. `start` and `step`
    are the coordinator's patience in seconds.
    """

    address: str
    hosts: bool
    began: float
    cancelled: str = ""
    start: float = 600.0
    step: float = 30.0


class End(_File):
    """The end of a training: its last facts and events, at a time in seconds since 1970."""

    at: float
    facts: TrainingFacts
    events: tuple[TrainingEvent, ...] = Field(default=(), repr=False)
