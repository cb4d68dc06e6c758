"""What a worker is, wherever it runs: one engine, and what that keeps of applications.

Bytes that came from outside are read by an engine only in workers. A worker holds one engine for
its whole life, under a bound on its memory, and raises TrisealErrors only.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from engines.envelope import digest_of
from engines.interface import Progress, ServerEngine, Slot
from service.execution.cache import BoundedCache
from service.execution.interface import Introduction
from service.execution.sandbox import limit_memory
from settings import Settings
from utils.errors import EngineUnavailable, EvaluationFailed, MalformedMessage, TrisealError

logger = logging.getLogger("triseal.worker")

EngineLoader = Callable[[str, Path], ServerEngine]
"""Engine name and deployment folder to engine; found by its import path in the worker."""
Messages = Mapping[tuple[str, str], bytes]

KEPT_DIGESTS = 1024
"""More than any engine keeps something of."""


def load_registered(name: str, deployment: Path) -> ServerEngine:
    """The engine of that name from the registry; raises EngineUnavailable, DeploymentError."""
    from engines.registry import load_server_engine  # here, so that only workers import engines

    return load_server_engine(name, deployment)


@dataclass(frozen=True)
class EngineSource:
    """All that a worker is told of the settings: its engine, and the MiB it may take beyond that.

    It holds no secret, for it may go to other machines.
    """

    loader: EngineLoader
    name: str
    deployment: Path
    memory: int

    @classmethod
    def of(cls, settings: Settings, loader: EngineLoader) -> EngineSource:
        """With the deployment's whole path, which a process in another folder finds too."""
        deployment = settings.deployment.absolute()
        return cls(loader, settings.engine, deployment, settings.worker_memory)


class Worker:
    """An engine and its tasks; `forget` may be called while another thread is at one of them."""

    def __init__(self, source: EngineSource) -> None:
        self._source = source
        self._engine: ServerEngine | None = None
        self._digests = BoundedCache[bytes](KEPT_DIGESTS)

    def introduce(self) -> Introduction:
        """Load the engine, unless it is there; raises EngineUnavailable, DeploymentError."""
        try:
            if self._engine is None:
                self._engine = self._source.loader(self._source.name, self._source.deployment)
                limit_memory(self._source.memory)
            return Introduction(self._engine.public, self._engine.client_files())
        except TrisealError:
            raise
        except Exception as error:
            logger.exception("loading the engine")
            raise EngineUnavailable(
                f"The engine {self._source.name} cannot be loaded ({type(error).__name__}); the "
                "server's log has the cause."
            ) from error

    def check(self, slot: Slot, path: Path, intact: bool) -> None:
        """Conformance of the message in a file; raises MalformedMessage, ForeignMessage."""
        try:
            with path.open("rb") as file:  # mapped: of a large key, little but its head is read
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._loaded.check(slot, memoryview(content), intact)
        except TrisealError:
            raise
        except Exception as error:
            logger.exception("checking a message")
            raise MalformedMessage(
                "The engine cannot read this message; encrypt and send it again."
            ) from error

    def evaluate(
        self, program: str, store: str, messages: Messages, progress: Progress
    ) -> tuple[bytes, float]:
        """The sealed result and the seconds of the evaluation alone.

        `store` is whose the messages are. Raises MalformedMessage, ForeignMessage,
        EvaluationFailed.
        """
        with evaluation_faults(program), self._noted(store, messages):
            start = perf_counter()
            result = self._loaded.evaluate(program, messages, progress)
            return result, perf_counter() - start

    def warm(self, store: str, messages: Messages) -> None:
        """Prepare for a first run; what goes wrong here shows, if it matters, in the run."""
        try:
            with self._noted(store, messages):
                self._loaded.warm(messages)
        except Exception:
            logger.exception("warming the engine")

    def forget(self, store: str) -> None:
        """Have the engine drop what it keeps of an application's messages."""
        digests = self._digests.forget(store)
        if self._engine is not None:
            self._engine.forget(digests)

    @property
    def _loaded(self) -> ServerEngine:
        if self._engine is None:
            raise EngineUnavailable("The engine has not been loaded yet; try again.")
        return self._engine

    @contextmanager
    def _noted(self, store: str, messages: Messages) -> Iterator[None]:
        """Know whose messages the engine may keep something of."""
        digests = [digest_of(message) for message in messages.values()]
        for digest in digests:
            self._digests.put(store, digest.hex(), digest)
        try:
            yield
        finally:
            if self._digests.forgot(store):  # while they were in use
                self._loaded.forget(digests)


@contextmanager
def evaluation_faults(program: str) -> Iterator[None]:
    """Whatever goes wrong in an evaluation, as a TrisealError; EvaluationFailed if it is none."""
    try:
        yield
    except TrisealError:
        raise
    except MemoryError as error:
        raise EvaluationFailed(
            f"The evaluation of {program} asked for more memory than a worker may take "
            "(TRISEAL_WORKER_MEMORY); send keys and inputs again, or have the operator allow more."
        ) from error
    except Exception as error:
        logger.exception("evaluating %s", program)
        raise EvaluationFailed(
            f"The evaluation of {program} failed ({type(error).__name__}); run it again, and see "
            "the server's log if it fails again."
        ) from error
