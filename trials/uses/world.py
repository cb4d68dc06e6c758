"""The servers of the trial, their partners, and the log as it was seen so far."""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from governance.canonical import canonical
from governance.log.checkpoint import Checkpoint, Note
from governance.log.entries import Entry
from governance.log.merkle import MemoryNodes, append, root
from parties.identity_file import make_identity
from trials.faults.application import Broken
from trials.servers import Server, Setup
from utils.errors import ServerUnreachable, TooManyRequests, TrisealError

GATEWAY_OWNERS = 4
HTTP_SECONDS = 30.0
PAGE = 256
"""Most entries of the log in one response."""
_LONGEST_PAUSE = 30.0
_UNSEEN = ("Exception in ASGI application", "exception was never retrieved", "Fatal Python error")

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One entry of the log and its number."""

    index: int
    kind: str
    outcome: str | None
    digests: Mapping[str, tuple[str, ...]]

    def digest(self, name: str) -> str:
        """Return its only digest of this name, or an empty text."""
        return (self.digests.get(name) or ("",))[0]


class World:
    """The state of a trial, created once. `homes` are of owners whom the gateway knows, by id."""

    def __init__(self, seed: int, setup: Setup, servers: int, folder: Path) -> None:
        """Start the servers; raises ServerUnreachable."""
        self.seed, self.folder = seed, folder
        self.homes = {f"user_{i}": folder / f"user_{i}" for i in range(1, GATEWAY_OWNERS + 1)}
        owners = {
            name: {"key": make_identity(home).public.hex(), "host": "127.0.0.1", "port": 5001}
            for name, home in self.homes.items()
        }
        known = {**setup.settings, "owners": json.dumps(owners)}
        own = Setup(known, setup.command, setup.shared, setup.secrets)
        self.servers = [Server(f"server-{i + 1}", folder, own) for i in range(servers)]
        for server in self.servers:
            server.start()
        for server in self.servers:
            server.wait()
        self.step, self.partners, self.now_doing = 0, 0, "start"
        self.broken: list[tuple[int, str, str]] = []
        """(step, fault, message) of every broken invariant."""
        self.checks: Counter[str] = Counter()
        self.lines: list[Line] = []
        """The log's entries that were read so far."""
        self.untyped: list[str] = []
        """Errors of the agents' threads that are no errors of Triseal."""
        self._nodes = MemoryNodes()
        self._kept_secrets = {*setup.secrets, self.servers[0].operator_token()}
        self._secrets = set(self._kept_secrets)
        self._read: dict[str, int] = {}
        self._lock = threading.RLock()
        self.http = httpx.Client(timeout=HTTP_SECONDS, trust_env=False)
        self.operator = {"Authorization": f"Bearer {self.servers[0].operator_token()}"}
        self._watch_agents()

    @property
    def url(self) -> str:
        """The address of the first server, which the agents use."""
        return self.servers[0].url

    def stop(self) -> None:
        """Stop the servers."""
        self.http.close()
        threading.excepthook = threading.__excepthook__
        logging.getLogger("parties.governance").removeHandler(self._handler)
        for server in self.servers:
            server.try_stop()

    def register(self, key: str) -> tuple[str, str]:
        """Register a bank with this public key; return its id and token."""
        with self._lock:
            self.partners += 1
            name = f"bank_{self.partners}"
        body = {"partner_id": name, "partner_type": "bank", "key": key}
        made = self.call("POST", "/operator/partners", json=body, headers=self.operator)
        if made.status_code != 201:
            raise Broken("the trial itself", f"no partner was registered: {made.text[:300]}")
        token = str(made.json()["token"])
        self.keep_secret(token)
        return name, token

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a call to the first server; repeat it while the server refuses for a while."""
        for _ in range(20):
            found = self.http.request(method, f"{self.url}{path}", **options)
            if found.status_code not in (429, 503):
                return found
            time.sleep(min(_LONGEST_PAUSE, float(found.headers.get("retry-after", 1))))
        return found

    def read_log(self) -> list[Line]:
        """Read the new entries of the log, check them against its checkpoint, and return all.

        Raises Broken if the log does not continue what was read before.
        """
        note = Note.parse(self.call("GET", "/log/checkpoint").text)
        size = Checkpoint.parse(note.body).size
        self.checked("the log proves itself")
        if size < len(self.lines):
            raise Broken("the log proves itself", "it has become shorter")
        leaves = []
        while len(self.lines) < size:
            start = len(self.lines)
            query = {"start": start, "end": min(start + PAGE, size)}
            items = self.call("GET", "/log/entries", params=query).json()["items"]
            if not items or items[0]["index"] != start:
                raise Broken("the log proves itself", "entries are missing")
            for item in items:
                entry = Entry.parse(canonical(item["entry"]))
                leaves.append(entry.leaf)
                self.lines.append(
                    Line(item["index"], entry.kind, entry.outcome, dict(entry.digests))
                )
        if leaves:
            append(self._nodes, size - len(leaves), leaves)
        if root(self._nodes, size) != Checkpoint.parse(note.body).root:
            raise Broken("the log proves itself", "entries do not lead to the checkpoint's root")
        return self.lines

    def verify(self, least: int = 0, seconds: float = 20.0) -> None:
        """Have the server audit its log, until the audit is of at least so many entries."""
        end = time.monotonic() + seconds
        while True:
            found = self.call("GET", "/integrity/verify").json()
            self.checked("the log proves itself")
            if not found.get("healthy"):
                raise Broken("the log proves itself", f"the audit found: {found.get('fault')}")
            if found["size"] >= least:
                return
            if time.monotonic() > end:
                raise Broken("the log proves itself", "the audit does not reach the last entries")
            time.sleep(0.3)

    def read_server_logs(self) -> None:
        """Raise Broken if the servers logged an untyped error or a secret, or ended."""
        for server in self.servers:
            self.checked("nothing secret in the logs")
            text = server.log()
            new = text[self._read.get(server.name, 0) :]
            self._read[server.name] = len(text)
            if any(secret in new for secret in self._secrets):
                raise Broken("nothing secret in the logs", "a token, permit or value was logged")
            for words in _UNSEEN:
                if words in new:
                    raise Broken("errors are typed", f"in the log: …{new[-1400:]}")
            if not server.alive:
                raise Broken("errors are typed", "a server ended by itself")

    def keep_secret(self, *secrets: str) -> None:
        """Record secrets that must never appear in a log."""
        with self._lock:
            self._secrets.update(secrets)

    def forget_secrets(self) -> None:
        """Forget the secrets of earlier episodes, whose logs have been checked."""
        with self._lock:
            self._secrets = set(self._kept_secrets)

    def checked(self, invariant: str, times: int = 1) -> None:
        """Count checks of an invariant."""
        with self._lock:
            self.checks[invariant] += times

    def breaks(self, error: Broken) -> None:
        """Record a broken invariant."""
        with self._lock:
            self.broken.append((self.step, self.now_doing, str(error)))

    def _watch_agents(self) -> None:
        """Collect errors in the agents' threads that nobody else sees."""
        untyped = self.untyped

        class Seen(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                cause = record.exc_info[1] if record.exc_info else None
                places = traceback.extract_tb(cause.__traceback__)[-5:] if cause else []
                where = " > ".join(f"{Path(each.filename).name}:{each.lineno}" for each in places)
                untyped.append(f"{record.getMessage()}: {type(cause).__name__} {cause} ({where})")

        self._handler = Seen(logging.ERROR)
        logger = logging.getLogger("parties.governance")
        logger.addHandler(self._handler)
        logger.propagate = False
        threading.excepthook = lambda args: untyped.append(
            f"{args.exc_type.__name__} in the thread {args.thread.name if args.thread else ''}: "
            f"{args.exc_value}"
        )


def until(holds: Callable[[], T], seconds: float = 20.0) -> T:
    """Return the first true value of `holds`, or its last one when the time is over."""
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def patiently(call: Callable[[], T], seconds: float = 60.0) -> T:
    """Return the result of a call, which is repeated while the server says so or is away."""
    end = time.monotonic() + seconds
    while True:
        try:
            return call()
        except (TooManyRequests, ServerUnreachable) as error:
            if time.monotonic() > end:
                raise
            time.sleep(_pause_of(error))


def _pause_of(error: TrisealError) -> float:
    return min(_LONGEST_PAUSE, float(getattr(error, "retry_seconds", 0.3)))
