"""Lenders' agents with their HTTP interface, in this process and in processes of their own."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx

from federated.agents.api.app import lender_app
from federated.agents.api.command import WantedAgent, local_lender
from federated.agents.limits import LenderLimits
from parties.agent_options import listening
from parties.governance.api.access import api_token
from parties.governance.api.app import Guarded
from parties.governance.api.serving import server_of, serving
from parties.trainings_client import TrainingsClient
from settings import ROOT, Settings
from training.synthetic_german import draw
from utils.child_process import ChildProcess
from utils.errors import ServerUnreachable
from utils.ports import free_port

SCHEMA = ROOT / "features" / "german_credit.json"
ROWS = 75
SECONDS = 120


def csv_of(number: int, rows: int = ROWS) -> bytes:
    """Return one lender's loans as CSV."""
    return draw(rows, seed=number, region=number).to_csv(index=False).encode()


def wanted(folder: Path, name: str, server: str) -> WantedAgent:
    """Return the command line of an agent in `folder`, with a data folder beside its own."""
    files = folder / f"{name}_files"
    files.mkdir()
    return WantedAgent(
        name=name,
        home=folder / name,
        server=server,
        schema=SCHEMA,
        target=None,
        trust=None,
        limits=LenderLimits(),
        data=None,
        data_folder=files,
        code=None,
        api_port=free_port(),
    )


class _Calls:
    """HTTP calls of an agent's own program."""

    http: httpx.Client

    def call(self, method: str, path: str, status: int = 200, **more):
        answer = self.http.request(method, path, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def until(self, run_id: str, states: set[str], reason: str = "") -> dict:
        """Follow a training until it is in one of these states for a reason; returns its facts."""
        for name, facts in self.stream(run_id):
            if name == "state" and facts["state"] in states and reason in facts["reason"]:
                return facts
        facts = self.call("GET", f"/fl_train/{run_id}")  # the stream of one that has ended
        assert facts["state"] in states, facts
        return facts

    def stream(self, run_id: str):
        """Yield the events of a training with their names."""
        name = ""
        headers = {"Accept": "text/event-stream"}
        with self.http.stream("GET", f"/fl_train/{run_id}/events", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                if line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))


class Agent(_Calls):
    """An agent in this process, which can be closed and started again on its folder."""

    def __init__(self, folder: Path, name: str, server: str) -> None:
        self.wanted = wanted(folder, name, server)
        self._held = ExitStack()
        self.start()

    def start(self, **changes) -> None:
        """Start the agent, as it was or with changes of its command line."""
        self.wanted = replace(self.wanted, **changes)
        settings = Settings()
        listener = self._held.enter_context(listening(self.wanted.api_port))
        self.lender = self._held.enter_context(local_lender(self.wanted, settings))
        token = api_token(self.wanted.home)
        app = lender_app(Guarded(self.lender, token, settings))
        self._held.enter_context(serving(server_of(app, 20.0, self.wanted.name), listener))
        self.http = self._held.enter_context(_client(self.wanted.api_port, token))

    def close(self) -> None:
        self._held.close()


class AgentProcess(_Calls):
    """`python -m federated lender --api-port`, which can be killed and started again."""

    def __init__(self, folder: Path, name: str, server: str, data: Path) -> None:
        self.home, self.port = folder / name, free_port()
        words = ["-m", "federated", "lender", "--name", name, "--home", str(self.home)]
        words += ["--server", server, "--schema", str(SCHEMA), "--data", str(data)]
        words += ["--api-port", str(self.port)]
        self.process = ChildProcess(words, folder / f"{name}.log", {})
        self.start()

    def start(self) -> None:
        said = self.process.log().count("listens at") if self.process.log_path.exists() else 0
        self.process.start()
        self.process.wait_until(lambda: self.process.log().count("listens at") > said)
        self.http = _client(self.port, api_token(self.home))


class Interrupted:
    """Makes a client fail from its n-th exchange on, as if its connection were cut."""

    def __init__(self, client: TrainingsClient, exchanges: int) -> None:
        self.cut = threading.Event()
        self._exchange, self._left = client.exchange, exchanges
        client.exchange = self._counted  # type: ignore[method-assign]

    def _counted(self, *words, **more):
        self._left -= 1
        if self._left < 0:
            self.cut.set()
            raise ServerUnreachable("The connection is cut.") from httpx.ConnectError("cut")
        return self._exchange(*words, **more)


def _client(port: int, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=SECONDS, trust_env=False
    )
