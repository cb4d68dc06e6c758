"""The objects that faults act on: servers, stored data and running applications."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from trials.cluster import Evaluators
from trials.faults.application import Application, Broken
from trials.faults.calls import UNTYPED, Answer, Caller
from trials.faults.content import Contents, EngineContents, StandInContents
from trials.faults.history import History
from trials.faults.stored import StoredBlobs, StoredRows
from trials.servers import Server, Setup

KEPT = 12
"""Number of finished applications kept for checks after later faults."""
SERVER_FAULTS = frozenset({"evaluation-failed", "stored-data-damaged", "engine-unavailable"})
"""Error codes that a server may return with a status of 500 or more."""


@dataclass(frozen=True)
class Choice:
    """The options of the trial."""

    faults: int
    seed: int
    at_once: int
    engine: str
    deployment: Path


class World:
    """The state of a trial, created once; thread-safe."""

    def __init__(
        self,
        choice: Choice,
        setup: Setup,
        servers: int,
        folder: Path,
        evaluators: Evaluators = list,
    ) -> None:
        """Start the servers; raises ServerUnreachable."""
        self.choice, self.setup, self.folder = choice, setup, folder
        self.evaluators = evaluators
        self.servers = [Server(f"server-{i + 1}", folder, setup) for i in range(servers)]
        self.history = History()
        self.step = 0
        self.broken: list[tuple[int, str, str]] = []
        """(step, fault, message) of every broken invariant."""
        self.now_doing = "start"
        self.checks: Counter[str] = Counter()
        self.kept: list[Application] = []
        self.gate = threading.Event()
        """Set while applications may start."""
        self.gate.set()
        self._secrets: set[str] = set(setup.secrets)
        self._lock = threading.RLock()
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait()
        self.caller = Caller([s.url for s in self.servers], choice.seed, self.note)
        self.contents = self._contents()
        settings = setup.settings
        data = self.servers[0].data
        self.rows = StoredRows(
            settings.get("database_url") or f"sqlite:///{data / 'applications.sqlite3'}"
        )
        self.blobs = StoredBlobs(
            settings.get("blob_url") or (data / "blobs").as_uri(),
            json.loads(settings.get("blob_options", "{}")),
        )
        self.operator_token = self.servers[0].operator_token()
        self.keep_secret(self.operator_token)

    def server(self, random: Random) -> Server:
        """Return a random server."""
        return random.choice(self.servers)

    def keep_secret(self, *secrets: str) -> None:
        """Record secrets that must never appear in a log."""
        with self._lock:
            self._secrets.update(secrets)

    def secrets(self) -> set[str]:
        """Return all recorded secrets."""
        with self._lock:
            return set(self._secrets)

    def checked(self, invariant: str, times: int = 1) -> None:
        """Count checks of an invariant."""
        with self._lock:
            self.checks[invariant] += times

    def breaks(self, error: Broken, during: str = "") -> None:
        """Record a broken invariant."""
        with self._lock:
            self.broken.append((self.step, during or self.now_doing, str(error)))

    def expect(self, answer: Answer, status: int, *codes: str) -> str:
        """Return the response as text if it is this refusal; raises Broken otherwise."""
        self.checked("no access across parties")
        if answer.status != status or answer.code not in codes:
            raise Broken("no access across parties", f"{answer}, not {status} {' or '.join(codes)}")
        return str(answer)

    def keep(self, application: Application) -> None:
        """Keep a finished application, and erase the oldest if there are too many."""
        with self._lock:
            self.kept.append(application)
            oldest = self.kept.pop(0) if len(self.kept) > KEPT else None
        if oldest is not None:
            oldest.erase()

    def taken(self) -> list[Application]:
        """Return the kept applications and hand them over to the caller."""
        with self._lock:
            kept, self.kept = self.kept, []
            return kept

    def operator(self, method: str, path: str, **options: Any) -> Answer:
        """Make a call as the operator."""
        return self.caller.ask(method, f"/operator{path}", self.operator_token, **options)

    def until(self, seconds: float, holds: Callable[[], bool]) -> bool:
        """Return True if the condition becomes true within `seconds`."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _contents(self) -> Contents:
        choice = self.choice
        if choice.engine == "stand-in":
            return StandInContents()
        url = self.servers[0].url
        return EngineContents(url, choice.deployment, choice.engine, choice.seed)

    def note(self, call: str, answer: Answer) -> None:
        """Check that a response is not an untyped error."""
        self.checked("errors are typed")
        faulty = answer.status >= 500 and answer.status != 503 and answer.code not in SERVER_FAULTS
        if faulty or answer.code.startswith(UNTYPED):
            self.breaks(Broken("errors are typed", f"{answer} to {_nameless(call)}"))


def _nameless(call: str) -> str:
    method, _, path = call.partition(" ")
    parts = ["…" if len(part) == 32 else part for part in path.split("/")]
    return f"{method} {'/'.join(parts)}"
