"""What runs inside a local worker process: the tasks that the server sends to it.

Tasks take names of blobs or paths, never bytes from outside, and raise TrisealErrors only, which
come back to the server as the same class. Beside them a thread listens for what is to be forgotten.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from engines.interface import Slot
from service.execution.interface import Introduction
from service.execution.sandbox import end_with_parent, give_way, leave_signals_to_parent
from service.execution.worker import EngineSource, Messages, Worker, evaluation_faults
from service.http import request_log as logs
from service.storage.blobs import BlobPlace, Blobs
from utils.errors import StorageUnavailable, TrisealError

logger = logging.getLogger("triseal.worker")

Names = Mapping[tuple[str, str], str]
"""SHA-256 of each message, by (party, file name)."""
Report = tuple[int, float] | None
"""A ticket and its finished share; None: what was to be forgotten has been."""

PROGRESS_SECONDS = 0.1
"""The least time between two reports of progress."""


class _Desk:
    """This process's worker, its blobs, and its line to the server."""

    worker: Worker
    place: BlobPlace | None
    blobs: Blobs | None = None
    line: Connection
    speaking = threading.Lock()


_desk = _Desk()


def begin(source: EngineSource, place: BlobPlace | None, niceness: int, line: Connection) -> None:
    """Initialise the process; without a `place` it can only check."""
    logs.configure()
    leave_signals_to_parent()
    end_with_parent()
    os.nice(niceness)
    _desk.worker, _desk.place, _desk.line = Worker(source), place, line
    threading.Thread(target=_listen, name="forgetting", daemon=True).start()


def introduce() -> Introduction:
    """Load the engine; raises EngineUnavailable, DeploymentError."""
    introduction = _desk.worker.introduce()
    if _desk.place is not None:  # from now on it evaluates; a check is waited for
        give_way()
    return introduction


def alive() -> None:
    """Answers: whoever has this answer has a worker."""


def check(slot: Slot, path: Path, intact: bool) -> None:
    """Conformance of the message in a file; raises MalformedMessage, ForeignMessage."""
    _desk.worker.check(slot, path, intact)


def evaluate(program: str, store: str, names: Names, ticket: int) -> tuple[bytes, float]:
    """The sealed result and the seconds of the evaluation alone.

    Reports its progress under `ticket`. Raises MalformedMessage, ForeignMessage, EvaluationFailed,
    StoredDataDamaged, StorageUnavailable.
    """
    reported = 0.0

    def progress(share: float) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= PROGRESS_SECONDS:
            reported = now
            _say((ticket, min(max(float(share), 0.0), 1.0)))

    with evaluation_faults(program):
        messages = _read(store, names)
    return _desk.worker.evaluate(program, store, messages, progress)


def warm(store: str, names: Names) -> None:
    """Prepare for a first run."""
    try:
        messages = _read(store, names)
    except TrisealError:
        return  # erased meanwhile, or the run will tell
    _desk.worker.warm(store, messages)


def _read(store: str, names: Names) -> Messages:
    if _desk.blobs is None:
        if _desk.place is None:
            raise StorageUnavailable("This process has no access to what the parties sent.")
        _desk.blobs = _desk.place.open()
    return {key: _desk.blobs.read(store, sha256) for key, sha256 in names.items()}


def _say(report: Report) -> None:
    with _desk.speaking:
        _desk.line.send(report)


def _listen() -> None:
    try:
        while True:
            for store in _desk.line.recv():
                try:
                    _desk.worker.forget(store)
                except Exception:  # one that cannot be forgotten must not keep the others
                    logger.exception("forgetting an application")
            _say(None)
    except (EOFError, OSError):
        return  # the server has gone, and this process with it
