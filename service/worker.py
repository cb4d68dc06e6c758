"""What runs inside a worker process: the engine, and the tasks that the server sends to it.

A worker holds one engine for its whole life. Tasks take paths, never bytes from outside, and
raise TrisealErrors only, which come back to the server as the same class. It ends with the server
however that ends, and leaves Ctrl-C to it.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NoReturn

from engines.interface import PublicModel, ServerEngine, Slot
from service import logs
from utils.errors import EngineUnavailable, EvaluationFailed, MalformedMessage, TrisealError

logger = logging.getLogger("triseal.worker")

EngineLoader = Callable[[str, Path], ServerEngine]
"""Engine name and deployment folder to engine; found by its import path in the worker."""
Messages = dict[tuple[str, str], Path]

PROGRESS_SECONDS = 0.1
"""The least time between two reports of progress."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Introduction:
    """What the server must know of the engine that a worker has loaded."""

    public: PublicModel
    client_files: bytes


class _Seat:
    """This process's engine and its line to the server."""

    loader: EngineLoader
    name: str
    deployment: Path
    line: Connection
    engine: ServerEngine


_seat = _Seat()


def load_registered(name: str, deployment: Path) -> ServerEngine:
    """The engine of that name from the registry; raises EngineUnavailable, DeploymentError."""
    from engines.registry import load_server_engine  # here, so that only workers import engines

    return load_server_engine(name, deployment)


def take_seat(loader: EngineLoader, name: str, deployment: Path, line: Connection) -> None:
    """Initialise the process."""
    logs.configure()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    _seat.loader, _seat.name, _seat.deployment, _seat.line = loader, name, deployment, line


def introduce() -> Introduction:
    """Load the engine; raises EngineUnavailable, DeploymentError."""
    try:
        _seat.engine = _seat.loader(_seat.name, _seat.deployment)
        return Introduction(_seat.engine.public, _seat.engine.client_files())
    except TrisealError:
        raise
    except Exception as error:
        logger.exception("loading the engine")
        raise EngineUnavailable(
            f"The engine {_seat.name} cannot be loaded ({type(error).__name__}); the server's log "
            "has the cause."
        ) from error


def check(slot: Slot, path: Path, intact: bool) -> None:
    """Conformance of one message; raises MalformedMessage, ForeignMessage."""
    try:
        with path.open("rb") as file:  # mapped: of a large key, little more than its head is read
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _seat.engine.check(slot, memoryview(content), intact)
    except TrisealError:
        raise
    except Exception as error:
        logger.exception("checking a message")
        raise MalformedMessage(
            "The engine cannot read this message; encrypt and send it again."
        ) from error


def evaluate(program: str, messages: Messages, ticket: int) -> tuple[bytes, float]:
    """The sealed result and the seconds of the evaluation alone.

    Reports (ticket, share) on the line to the server. Raises MalformedMessage, ForeignMessage,
    EvaluationFailed.
    """
    reported = 0.0

    def progress(share: float) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= PROGRESS_SECONDS:
            reported = now
            _seat.line.send((ticket, min(max(float(share), 0.0), 1.0)))

    try:
        contents = {key: path.read_bytes() for key, path in messages.items()}
        start = time.perf_counter()
        result = _seat.engine.evaluate(program, contents, progress)
        return result, time.perf_counter() - start
    except TrisealError:
        raise
    except FileNotFoundError as error:
        raise EvaluationFailed("The application was erased before its evaluation.") from error
    except Exception as error:
        logger.exception("evaluating %s", program)
        raise EvaluationFailed(
            f"The evaluation of {program} failed ({type(error).__name__}); run it again, and see "
            "the server's log if it fails again."
        ) from error


def warm(messages: Messages) -> None:
    """Prepare for a first run; what goes wrong here shows, if it matters, in the run."""
    try:
        _seat.engine.warm({key: path.read_bytes() for key, path in messages.items()})
    except FileNotFoundError:
        return  # replaced or erased meanwhile
    except Exception:
        logger.exception("warming the engine")


def _end_with_parent() -> None:
    """End when the server ends, even where it was killed.

    Linux sees to it itself, also while native code holds the interpreter; elsewhere a thread does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> NoReturn:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
