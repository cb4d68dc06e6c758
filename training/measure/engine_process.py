"""An engine in its own process, to measure its peak memory and to alternate runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from features.encoding import Bits
from training.encrypted_runs import EncryptedRuns, Timed
from training.measure.remote import Remote
from utils.environments import interpreter_of
from utils.errors import TrisealError


class EngineProcess(Remote):
    """Runs commands one at a time in a new process; a context manager. An error ends it."""

    def __init__(self, engine: str, folder: Path) -> None:
        python = interpreter_of(engine)
        super().__init__(f"engine {engine}", _EngineRuns, engine, folder, python=python)
        self.engine = engine
        self.facts: dict[str, Any] = self.call("facts")

    def decide(self, bits: Bits) -> tuple[Timed, tuple[float, ...]]:
        """Return the timed decision of a row and the expected scores."""
        return self._timed("decide", bits)

    def explain(self, bits: Bits) -> tuple[Timed, tuple[float, ...]]:
        """Return the timed explanation of the row decided last and the expected scores."""
        return self._timed("explain", bits)

    def _timed(self, program: str, bits: Bits) -> tuple[Timed, tuple[float, ...]]:
        timed: tuple[Timed, tuple[float, ...]] = self.call(program, bits)
        return timed

    def call(self, method: str, *arguments: Any) -> Any:
        try:
            return super().call(method, *arguments)
        except TrisealError:
            self.end()
            raise


class _EngineRuns:
    """The object in the process."""

    def __init__(self, engine: str, folder: Path) -> None:
        self._runs = EncryptedRuns(engine, folder)

    def facts(self) -> dict[str, Any]:
        runs = self._runs
        return {
            "load_seconds": runs.load_seconds,
            "key_seconds": runs.key_seconds,
            "key_loading_seconds": runs.key_loading_seconds,
            "evaluation_key_bytes": len(runs.keys.evaluation),
            "secret_bytes": len(runs.keys.secret),
        }

    def decide(self, bits: Bits) -> tuple[Timed, tuple[float, ...]]:
        return self._runs.decide(bits), self._runs.expected("decide", bits)

    def explain(self, bits: Bits) -> tuple[Timed, tuple[float, ...]]:
        return self._runs.explain(bits), self._runs.expected("explain", bits)
