"""An engine in a process of its own, so that its peak memory is its own and runs can alternate."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from features.encoding import Bits
from training.encrypted_runs import EncryptedRuns, Timed
from training.machine import peak_bytes
from utils.errors import EvaluationFailed, TrisealError


class EngineProcess:
    """Runs commands one at a time in a fresh process; use as a context."""

    def __init__(self, engine: str, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, engine, folder), daemon=True)
        self._process.start()
        theirs.close()
        self.engine = engine
        self.facts: dict[str, Any] = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.join(10)

    def decide(self, bits: Bits) -> tuple[Timed, tuple[float, ...]]:
        """The timed decision of a row and what was expected."""
        return self._call("decide", bits)

    def explain(self, bits: Bits) -> tuple[Timed, tuple[float, ...]]:
        """The timed explanation of the row decided last and what was expected."""
        return self._call("explain", bits)

    def peak_bytes(self) -> int:
        """The largest resident size of the process so far."""
        return int(self._call("peak", None))

    def _call(self, command: str, argument: Any) -> Any:
        try:
            self._pipe.send((command, argument))
        except OSError:
            raise self._ended() from None
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        if isinstance(answer, TrisealError):
            raise answer
        return answer

    def _ended(self) -> EvaluationFailed:
        return EvaluationFailed(f"The process of engine {self.engine} has ended.")


def _serve(pipe: Connection, engine: str, folder: Path) -> None:
    try:
        runs = EncryptedRuns(engine, folder)
        pipe.send(
            {
                "load_seconds": runs.load_seconds,
                "key_seconds": runs.key_seconds,
                "warm_seconds": runs.warm_seconds,
                "evaluation_key_bytes": len(runs.keys.evaluation),
                "secret_bytes": len(runs.keys.secret),
            }
        )
        while True:
            command, bits = pipe.recv()
            if command == "peak":
                pipe.send(peak_bytes())
            else:
                timed = runs.decide(bits) if command == "decide" else runs.explain(bits)
                pipe.send((timed, runs.expected(command, bits)))
    except TrisealError as error:
        pipe.send(error)
    except EOFError:
        return  # the benchmark has gone
