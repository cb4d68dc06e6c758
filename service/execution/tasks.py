"""The tasks that run in a local worker process.

Tasks take names of blobs or paths, never external bytes, and raise only TrisealErrors, which reach
the server as the same class. A separate thread receives orders: the stores to forget, and the
evaluation to stop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from engines.interface import Slot
from service.execution.interface import Evaluated, Introduction, RunProgress
from service.execution.sandbox import end_with_parent, give_way, leave_signals_to_parent
from service.execution.worker import EngineSource, Messages, Worker, evaluation_faults
from service.storage.blobs import BlobPlace, Blobs
from utils.errors import RunCancelled, StorageUnavailable, TrisealError
from web import request_log as logs

logger = logging.getLogger("triseal.worker")

Names = Mapping[tuple[str, str], str]
"""SHA-256 of each message, by (party, file name)."""
Report = tuple[int, RunProgress] | None
"""A ticket and its progress; None confirms that stores have been forgotten."""
Order = list[str] | int
"""Stores to forget, or the ticket of an evaluation to stop at its next report of progress."""

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
    stopped: int | None = None
    """The ticket of the latest evaluation to stop."""


_process = _Process()


def begin(source: EngineSource, place: BlobPlace | None, niceness: int, pipe: Connection) -> None:
    """Initialise the process; without a `place` it can only check uploads."""
    logs.configure()
    leave_signals_to_parent()
    end_with_parent()
    _process.worker, _process.place, _process.pipe = Worker(source), place, pipe
    _process.niceness = niceness
    threading.Thread(target=_listen, name="orders", daemon=True).start()


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
) -> Evaluated:
    """Return the sealed result, with its times.

    Reports its progress under `ticket`. Raises MalformedMessage, ForeignMessage, EvaluationFailed,
    StoredDataDamaged, StorageUnavailable, RunCancelled.
    """
    reported, phase = 0.0, None

    def report(found: RunProgress) -> None:
        nonlocal reported, phase
        if _process.stopped == ticket:
            raise RunCancelled(f"The run of {program} was cancelled.")
        now = time.monotonic()
        # A few runs of the model are all reported, since each takes long.
        if found.phase != phase or found.runs > 1 or now - reported >= PROGRESS_SECONDS:
            reported, phase = now, found.phase
            _send((ticket, found))

    with evaluation_faults(program):
        messages = _read(store, names)
    return _process.worker.evaluate(program, store, messages, report, seed)


def load_key(store: str, names: Names) -> float | None:
    """Load an application's key in advance; return the seconds it took, None if it is gone."""
    try:
        messages = _read(store, names)
    except TrisealError:
        return None  # erased in the meantime, or the run will report the error
    return _process.worker.load_key(store, messages)


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
            order: Order = _process.pipe.recv()
            if isinstance(order, int):
                _process.stopped = order
                continue
            for store in order:
                try:
                    _process.worker.forget(store)
                except Exception:  # the other stores must still be forgotten
                    logger.exception("forgetting an application")
            _send(None)
    except (EOFError, OSError):
        return  # the server is gone, so this process ends too
