"""The agents of a schedule: processes that run the code of `python -m federated`.

They are forked from a server that has the modules loaded, so that a start takes milliseconds.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from features.records import Records
from federated.agents import coordinator_agent
from federated.agents.coordinator_agent import CoordinatorAgent, Patience
from federated.agents.lender_agent import LenderAgent, Own
from federated.plan import Plan
from parties.identity_file import make_identity
from parties.retrying import may_pass
from parties.trainings_client import TrainingsClient
from trials.federated import doubles
from trials.federated.journal import Journal
from trials.federated.points import Points, installed
from utils.atomic_files import write_atomic
from utils.errors import TrisealError

DONE, CANCELLED, REFUSED = 0, 3, 4
"""Exit codes; REFUSED is a typed error that does not pass by itself, with its code in the log."""
STEP_SECONDS = 1.0
START_SECONDS = 12.0
STAY_SECONDS = 1.5
_CODE_SECONDS = 60.0
_CLIENT_SECONDS = 30.0
_AGAIN_SECONDS = 0.2
_FORKING = threading.Lock()


@dataclass(frozen=True)
class AgentSetup:
    """The setup of one agent: its files, the server, and its own part of the training.

    `records` are a lender's, `lenders` the names that a coordinator invites. `double` names a rule
    that is switched off (doubles.py).
    """

    name: str
    folder: Path
    url: str
    plan: Plan
    pins: dict[str, bytes]
    codes: Path
    records: Records | None = None
    lenders: tuple[str, ...] = ()
    double: str = ""

    @property
    def home(self) -> Path:
        """The agent's own folder."""
        return self.folder / "homes" / self.name

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def armed(self) -> Path:
        return self.folder / f"{self.name}.armed"

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / f"{self.name}.journal")


def started(setup: AgentSetup) -> BaseProcess:
    """Start a process that plays the agent."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_play, args=(setup,), daemon=True)
    with _FORKING:
        process.start()
    return process


def _play(setup: AgentSetup) -> None:
    log = os.open(setup.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    doubles.installed(setup.double)
    installed(Points(setup.armed), setup.journal)
    coordinator_agent.STAY_SECONDS = STAY_SECONDS
    setup.journal.add("started")
    sys.exit(_persistently(_lend if setup.records is not None else _coordinate, setup))


def _persistently(part: Callable[[AgentSetup, TrainingsClient], str], setup: AgentSetup) -> int:
    """Play a part, again after errors that pass, as a person would; returns the exit code."""
    while True:
        try:
            with TrainingsClient(setup.url, _CLIENT_SECONDS) as client:
                state = part(setup, client)
        except TrisealError as error:
            print(f"{error.code}: {error.message}", flush=True)
            if not may_pass(error):
                return REFUSED
            time.sleep(_AGAIN_SECONDS)
            continue
        print(f"The training is {state}.", flush=True)
        return {"finished": DONE, "cancelled": CANCELLED}[state]


def _coordinate(setup: AgentSetup, client: TrainingsClient) -> str:
    key, patience = make_identity(setup.home), Patience(START_SECONDS, STEP_SECONDS)
    agent = CoordinatorAgent.resume(setup.home, client, key, setup.pins, patience)
    if agent is None:
        agent = CoordinatorAgent.host(
            setup.home, client, key, setup.plan, setup.lenders, setup.pins, patience
        )
    with closing(agent):
        write_atomic(setup.codes, json.dumps(agent.codes).encode())
        return agent.run().state


def _lend(setup: AgentSetup, client: TrainingsClient) -> str:
    if setup.records is None:
        raise TypeError("a lender has rows")
    own = Own(setup.plan.layout, setup.records, make_identity(setup.home), setup.pins)
    agent = LenderAgent.resume(setup.home, client, own)
    if agent is None:
        agent = LenderAgent.join(setup.home, client, setup.name, _code(setup), own)
    with closing(agent):
        return agent.run().state


def _code(setup: AgentSetup) -> str:
    """Return the code for this lender, once the coordinator has written it."""
    end = time.monotonic() + _CODE_SECONDS
    while not setup.codes.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return str(json.loads(setup.codes.read_text())[setup.name])
