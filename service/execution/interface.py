"""What the server asks of whatever evaluates for it.

An executor holds engines in other processes, on this machine or on others. It is given names of
blobs, never bytes from outside, and it knows nothing of applications, tokens or the database.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from engines.interface import Progress, PublicModel


@dataclass(frozen=True)
class Introduction:
    """What the server must know of the engine that the workers have loaded."""

    public: PublicModel
    client_files: bytes


@dataclass(frozen=True)
class Evaluation:
    """A program to run: the job's id, the application's store, and the blobs it is run on.

    `messages` maps (party, file name) to the SHA-256 that names the blob in `store`.
    """

    job: str
    program: str
    store: str
    messages: Mapping[tuple[str, str], str]


class WorkerLostError(Exception):
    """The worker died under its task, was ended for taking too long, or was told to stop."""

    def __init__(self, how: Literal["died", "late", "cancelled"]) -> None:
        super().__init__(how)
        self.how = how


class Executor(ABC):
    """Runs evaluations in other processes; to be used from one event loop."""

    may_come_later = False
    """Whether `start` is worth trying again by itself: a cluster may not be there yet."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many evaluations it does at once, at present; the server gives it no more."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether a worker has its engine."""

    @abstractmethod
    async def start(self) -> Introduction:
        """Load the engine in the workers; may be tried again after an error.

        Raises EngineUnavailable, DeploymentError, StorageUnavailable.
        """

    @abstractmethod
    async def evaluate(self, evaluation: Evaluation, progress: Progress) -> tuple[bytes, float]:
        """The sealed result of a program, and the seconds its evaluation took.

        `progress` is called in the event loop. Raises MalformedMessage, ForeignMessage,
        EvaluationFailed, StoredDataDamaged, StorageUnavailable, EngineUnavailable, and
        WorkerLostError, after which the worker is replaced.
        """

    @abstractmethod
    async def warm(self, evaluation: Evaluation) -> None:
        """Prepare the first run of an application whose keys are there; never raises.

        Does nothing where every worker is busy: the run itself would come as soon.
        """

    @abstractmethod
    def cancel(self, job: str) -> None:
        """End an evaluation under way: its `evaluate` raises WorkerLostError("cancelled").

        Does nothing where there is none of that id.
        """

    @abstractmethod
    async def forget(self, store: str) -> None:
        """Drop whatever any worker keeps of an application in memory; never raises.

        Also while workers evaluate; what an evaluation of that application itself holds is dropped
        when it ends. A worker that does not answer within seconds is not waited for.
        """

    @abstractmethod
    async def stop(self) -> None:
        """End all workers, whatever they are doing: `evaluate` then raises EngineUnavailable."""
