"""The tasks that run in a local worker process.

Tasks take names of blobs or paths, never external bytes, and raise only TrisealErrors, which reach
the server as the same class. A separate thread receives the stores to forget.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from engines.interface import Slot
from service.execution.interface import Introduction
from service.execution.sandbox import end_with_parent, give_way, leave_signals_to_parent
from service.execution.worker import EngineSource, Messages, Worker, evaluation_faults
from service.storage.blobs import BlobPlace, Blobs
from utils.errors import StorageUnavailable, TrisealError
from web import request_log as logs

logger = logging.getLogger("triseal.worker")

Names = Mapping[tuple[str, str], str]
"""SHA-256 of each message, by (party, file name)."""
Report = tuple[int, float] | None
"""A ticket and its finished share; None confirms that stores have been forgotten."""

PROGRESS_SECONDS = 0.1
"""The shortest time between two reports of progress."""


class _Process:
    """This process's worker, its blobs, and its pipe to the server."""

    worker: Worker
    place: BlobPlace | None
    niceness: int
    blobs: Blobs | None = None
    pipe: Connection
    sending = threading.Lock()


_process = _Process()


def begin(source: EngineSource, place: BlobPlace | None, niceness: int, pipe: Connection) -> None:
    """Initialise the process; without a `place` it can only check uploads."""
    logs.configure()
    leave_signals_to_parent()
    end_with_parent()
    _process.worker, _process.place, _process.pipe = Worker(source), place, pipe
    _process.niceness = niceness
    threading.Thread(target=_listen, name="forgetting", daemon=True).start()


def introduce() -> Introduction:
    """Load the engine; raises EngineUnavailable, DeploymentError."""
    introduction = _process.worker.introduce()
    if _process.niceness:
        give_way(_process.niceness)
    return introduction


def alive() -> None:
    """Return at once; a response proves that the worker is alive."""


def check(slot: Slot, path: Path, intact: bool) -> None:
    """Check that the message in a file fits the slot; raises MalformedMessage, ForeignMessage."""
    _process.worker.check(slot, path, intact)


def evaluate(
    program: str, store: str, names: Names, ticket: int, seed: bytes | None = None
) -> tuple[bytes, float]:
    """Return the sealed result and the time of the evaluation alone, in seconds.

    Reports its progress under `ticket`. Raises MalformedMessage, ForeignMessage, EvaluationFailed,
    StoredDataDamaged, StorageUnavailable.
    """
    reported = 0.0

    def progress(share: float) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= PROGRESS_SECONDS:
            reported = now
            _send((ticket, min(max(float(share), 0.0), 1.0)))

    with evaluation_faults(program):
        messages = _read(store, names)
    return _process.worker.evaluate(program, store, messages, progress, seed)


def warm(store: str, names: Names) -> None:
    """Prepare for a first run."""
    try:
        messages = _read(store, names)
    except TrisealError:
        return  # erased in the meantime, or the run will report the error
    _process.worker.warm(store, messages)


def _read(store: str, names: Names) -> Messages:
    if _process.blobs is None:
        if _process.place is None:
            raise StorageUnavailable("This process has no access to the parties' messages.")
        _process.blobs = _process.place.open()
    return {key: _process.blobs.read(store, sha256) for key, sha256 in names.items()}


def _send(report: Report) -> None:
    with _process.sending:
        _process.pipe.send(report)


def _listen() -> None:
    try:
        while True:
            for store in _process.pipe.recv():
                try:
                    _process.worker.forget(store)
                except Exception:  # the other stores must still be forgotten
                    logger.exception("forgetting an application")
            _send(None)
    except (EOFError, OSError):
        return  # the server is gone, so this process ends too
