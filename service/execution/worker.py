"""A worker, wherever it runs: one engine, and a record of the messages that the engine caches.

Only workers let an engine read external bytes. A worker holds one engine for its whole life, under
a memory limit, and raises only TrisealErrors.
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
from engines.interface import ServerEngine, Slot
from service.execution.cache import BoundedCache
from service.execution.interface import Evaluated, Introduction, Reporter, RunProgress
from service.execution.sandbox import limit_memory
from settings import Settings
from utils.errors import EngineUnavailable, EvaluationFailed, MalformedMessage, TrisealError

logger = logging.getLogger("triseal.worker")

EngineLoader = Callable[[str, Path], ServerEngine]
"""Loads an engine from its name and the deployment folder; imported by name in the worker."""
Messages = Mapping[tuple[str, str], bytes]

KEPT_DIGESTS = 1024
"""More messages than any engine caches."""


def load_registered(name: str, deployment: Path) -> ServerEngine:
    """Return the engine of that name from the registry.

    Raises EngineUnavailable, DeploymentError.
    """
    from engines.registry import load_server_engine  # so that only workers import engines

    return load_server_engine(name, deployment)


@dataclass(frozen=True)
class EngineSource:
    """The settings that a worker gets: its engine, and its memory limit beyond that, in MiB.

    It contains no secrets, since it may be sent to other machines.
    """

    loader: EngineLoader
    name: str
    deployment: Path
    memory: int

    @classmethod
    def of(cls, settings: Settings, loader: EngineLoader) -> EngineSource:
        """Create it with the deployment's absolute path, valid in any working directory."""
        deployment = settings.deployment.absolute()
        return cls(loader, settings.engine, deployment, settings.worker_memory)


class Worker:
    """An engine and its tasks; `forget` may be called while another thread runs a task."""

    def __init__(self, source: EngineSource) -> None:
        self._source = source
        self._engine: ServerEngine | None = None
        self._digests = BoundedCache[bytes](KEPT_DIGESTS)

    def introduce(self) -> Introduction:
        """Load the engine unless it is loaded; raises EngineUnavailable, DeploymentError."""
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
        """Check the message in a file; raises MalformedMessage, ForeignMessage."""
        try:
            with path.open("rb") as file:  # mapped, since little more than a key's head is read
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
        self,
        program: str,
        store: str,
        messages: Messages,
        report: Reporter,
        seed: bytes | None = None,
    ) -> Evaluated:
        """Return the sealed result, with its times.

        `store` is the store of the messages, `seed` that of Evaluation. Raises MalformedMessage,
        ForeignMessage, EvaluationFailed, and what `report` raises.
        """
        with evaluation_faults(program), self._noted(store, messages):
            report(RunProgress(phase="loading_key"))
            start = perf_counter()
            self._loaded.load_key(messages)
            loaded = perf_counter()
            runs = self._loaded.runs(program, messages)

            def progress(share: float) -> None:
                report(RunProgress(min(max(float(share), 0.0), 1.0), runs=runs))

            progress(0.0)
            if seed is None:
                result = self._loaded.evaluate(program, messages, progress)
            else:
                result = self._loaded.evaluate_seeded(program, messages, seed, progress)
            return Evaluated(result, perf_counter() - loaded, loaded - start)

    def load_key(self, store: str, messages: Messages) -> float:
        """Load an application's key in advance; return the seconds it took.

        Errors are logged, and reappear in the run.
        """
        start = perf_counter()
        try:
            with self._noted(store, messages):
                self._loaded.load_key(messages)
        except Exception:
            logger.exception("loading a key")
        return perf_counter() - start

    def forget(self, store: str) -> None:
        """Make the engine drop everything that it caches of an application's messages."""
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
        """Record the messages that the engine may cache while they are in use."""
        digests = [digest_of(message) for message in messages.values()]
        for digest in digests:
            self._digests.put(store, digest.hex(), digest)
        try:
            yield
        finally:
            if self._digests.forgot(store):  # forgotten while they were in use
                self._loaded.forget(digests)


@contextmanager
def evaluation_faults(program: str) -> Iterator[None]:
    """Convert any error of an evaluation into a TrisealError, by default EvaluationFailed."""
    try:
        yield
    except TrisealError:
        raise
    except MemoryError as error:
        raise EvaluationFailed(
            f"The evaluation of {program} needed more memory than a worker may use "
            "(TRISEAL_WORKER_MEMORY); send keys and inputs again, or ask the operator to raise the "
            "limit."
        ) from error
    except Exception as error:
        logger.exception("evaluating %s", program)
        raise EvaluationFailed(
            f"The evaluation of {program} failed ({type(error).__name__}); run it again, and see "
            "the server's log if it fails again."
        ) from error
