"""A real server on a real port for the parties' tests, and records with a known outcome."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from engines.deployment import Deployment
from features.contradictions import broken_rules
from features.encoding import Layout
from features.schema import BooleanColumn, CategoricalColumn, Column, Schema
from model.explanation import Explanation, explain_scores
from parties.client import ServerClient
from parties.connection import Connection
from parties.single_key.session import ApplicationSession
from parties.store import PartyStore
from settings import ROOT
from trials.servers import Server, Setup
from utils.child_process import environment


def run_python(*command: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run Python with these words and settings until it ends, for at most a minute."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )


class LiveServer(Server):
    """`python server.py` with an engine; it can be stopped and started again."""

    def __init__(
        self,
        folder: Path,
        deployment: Path,
        engine: str = "clear",
        command: tuple[str, ...] = ("server.py",),
    ) -> None:
        self.folder, self.deployment = folder, deployment
        settings = {
            "engine": engine,
            "deployment": deployment,
            "disk_reserve_megabytes": 1,
            "evaluation_niceness": 0,  # another process of the tests may be busy
        }
        super().__init__("server", folder, Setup(settings, command))

    def start(self, stdin: str = "") -> None:
        super().start(stdin)
        self.wait()

    def kill(self) -> None:
        """Kill the server and all its descendants, as a power failure would."""
        workers = self.children()
        super().kill()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()

    @contextmanager
    def stuck(self) -> Iterator[None]:
        """Suspend the workers; a run that one of them has goes on afterwards."""
        until(lambda: httpx.get(f"{self.url}/health/ready", trust_env=False).is_success, 60)
        with standing_still(self.workers()):
            yield

    def connect(self, folder: Path) -> Connection:
        """Connect, with the parties' files in `folder`."""
        return Connection(ServerClient(self.url, 30), PartyStore(folder))


def started(folder: Path, deployment: Path, engine: str) -> LiveServer:
    """Start a server with an engine."""
    server = LiveServer(folder, deployment, engine)
    server.start()
    return server


@contextmanager
def standing_still(processes: list[psutil.Process]) -> Iterator[None]:
    """Suspend processes; some of them may be killed meanwhile."""
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def until(happened: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until `happened` returns a true value; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def live_server(tmp_path_factory, clear_deployment):
    server = LiveServer(tmp_path_factory.mktemp("live"), clear_deployment)
    server.settings["maximum_queued"] = 1
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def levelled_server(tmp_path_factory, levelled_deployment):
    server = started(tmp_path_factory.mktemp("levelled"), levelled_deployment, "levelled")
    yield server
    server.stop()


@pytest.fixture
def connection(live_server, tmp_path):
    made = live_server.connect(tmp_path / "parties")
    yield made
    made.client.close()


class Oracle:
    """The results of the deployment's programs for a record, in the clear."""

    def __init__(self, deployment: Path, engine: str = "clear") -> None:
        self.deployment, self.engine = Deployment.load(deployment), engine
        self.schema: Schema = self.deployment.schema
        self.layout: Layout = self.deployment.layout

    def score(self, record: Mapping[str, Any]) -> int:
        return int(self._scores("decide", record)[0])

    def explanation(self, record: Mapping[str, Any]) -> Explanation:
        """Return the explanation as the explained column's owner reads it."""
        scores, own = self._scores("explain", record), self.of(self.schema.explained_party, record)
        return explain_scores(self.schema, own, self.score(record) >= 0, scores)

    def points(self, record: Mapping[str, Any]) -> list[int]:
        """Return the points of the reasons."""
        return self._scores("reasons", record)

    def _scores(self, program: str, record: Mapping[str, Any]) -> list[int]:
        bits = self.layout.encode(record)[None, :]
        return [
            int(score)
            for score in self.deployment.programs_of(self.engine)[program].scores(bits)[0]
        ]

    def consistent(self, record: Mapping[str, Any]) -> bool:
        """Return True for a record that breaks no rule of the schema."""
        parties = self.schema.party_names
        return not any(broken_rules(self.schema, p, self.of(p, record)) for p in parties)

    def default(self) -> dict[str, Any]:
        return {column.name: column.default for column in self.schema.columns()}

    def of(self, party: str, record: Mapping[str, Any]) -> dict[str, Any]:
        return {column.name: record[column.name] for column in self.schema.party(party).columns}

    def find(self, outcome: str, vary: Iterable[str] | None = None) -> dict[str, Any]:
        """Return a record with that outcome; columns outside `vary` keep their defaults."""
        columns = [c for c in self.schema.columns() if vary is None or c.name in set(vary)]
        draw = random.Random(7)
        for _ in range(5000):
            record = self.default() | {c.name: _any_value(c, draw) for c in columns}
            if not self.consistent(record):
                continue
            if self.explanation(record).outcome == outcome:
                return record
        raise LookupError(f"no record is {outcome}")


def filled(connection: Connection, oracle: Oracle, record: Mapping[str, Any]) -> ApplicationSession:
    """Return an application with keys and all inputs sent."""
    session = ApplicationSession.open(connection)
    session.make_keys()
    for party in oracle.schema.party_names:
        session.send(party, oracle.of(party, record))
    return session


def _any_value(column: Column, draw: random.Random) -> Any:
    if isinstance(column, BooleanColumn):
        return draw.random() < 0.5
    if isinstance(column, CategoricalColumn):
        return draw.choice(column.values)
    return column.bin_floor(draw.randrange(len(column.cuts) + 1))


@pytest.fixture(scope="session")
def oracle(clear_deployment):
    return Oracle(clear_deployment)


@pytest.fixture(scope="session")
def levelled_oracle(levelled_deployment):
    return Oracle(levelled_deployment, "levelled")
