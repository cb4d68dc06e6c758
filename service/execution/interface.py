"""The interface between the server and its executors.

An executor holds engines in other processes, on this machine or on others. It gets names of blobs,
never external bytes, and is independent of applications, tokens and the database.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from contract.http import RunPhase
from engines.interface import PublicModel


@dataclass(frozen=True)
class Introduction:
    """Facts about the engine that the workers have loaded, for the server."""

    public: PublicModel
    client_files: bytes


@dataclass(frozen=True)
class Evaluation:
    """A program to run: the job's id, the application's store, and the input blobs.

    `messages` maps (party, file name) to the SHA-256 that names the blob in `store`. `seed` is for
    ServerEngine.evaluate_seeded, or None if no witness checks the result.
    """

    job: str
    program: str
    store: str
    messages: Mapping[tuple[str, str], str]
    seed: bytes | None = field(default=None, repr=False)


class RunProgress(NamedTuple):
    """The progress of an evaluation: its phase, its finished share and its runs of the model.

    While the key is loaded, the share is 0.
    """

    share: float = 0.0
    phase: RunPhase = "evaluating"
    runs: int = 1


Reporter = Callable[[RunProgress], None]
"""Called with the progress of an evaluation."""


class Evaluated(NamedTuple):
    """A sealed result, and the seconds of the evaluation and of loading the key before it.

    The latter are 0 if the key was loaded already.
    """

    result: bytes
    seconds: float
    loading_seconds: float


class WorkerLostError(Exception):
    """The worker died during its task, was killed for taking too long, or was cancelled."""

    def __init__(self, how: Literal["died", "late", "cancelled"]) -> None:
        super().__init__(how)
        self.how = how


class Executor(ABC):
    """Runs evaluations in other processes; for use from one event loop."""

    may_come_later = False
    """True if `start` should be retried automatically: a cluster may not be available yet."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """Number of concurrent evaluations possible now; the server starts no more than that."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """True if at least one worker has loaded its engine."""

    @abstractmethod
    async def start(self) -> Introduction:
        """Load the engine in the workers; may be called again after an error.

        Raises EngineUnavailable, DeploymentError, StorageUnavailable.
        """

    @abstractmethod
    async def evaluate(self, evaluation: Evaluation, report: Reporter) -> Evaluated:
        """Return the sealed result of a program, with its times.

        `report` is called in the event loop. Raises MalformedMessage, ForeignMessage,
        EvaluationFailed, StoredDataDamaged, StorageUnavailable, EngineUnavailable, and
        WorkerLostError, after which the worker is replaced.
        """

    @abstractmethod
    async def load_key(self, evaluation: Evaluation) -> float | None:
        """Load the key of an application in advance; return the seconds it took. Never raises.

        Does nothing and returns None if all workers are busy, since the run itself would start no
        later. A run of the application waits for it, and reports that it loads the key.
        """

    @abstractmethod
    def cancel(self, job: str) -> None:
        """Stop a running evaluation, whose `evaluate` then raises WorkerLostError("cancelled").

        One with several runs of the model may first end the current run. Does nothing if there is
        no evaluation of that job.
        """

    @abstractmethod
    async def forget(self, store: str) -> None:
        """Drop everything that workers keep of an application in memory; never raises.

        Works while workers evaluate; data in use by an evaluation of the application is dropped
        when that ends. The call waits only a few seconds for a worker that does not respond.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Stop all workers, even busy ones; a running `evaluate` raises EngineUnavailable."""
