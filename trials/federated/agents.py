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
class Seat:
    """One agent's place: its files, the server, and its own part of the training.

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


def started(seat: Seat) -> BaseProcess:
    """Start a process that plays the agent."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_play, args=(seat,), daemon=True)
    with _FORKING:
        process.start()
    return process


def _play(seat: Seat) -> None:
    log = os.open(seat.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    doubles.installed(seat.double)
    installed(Points(seat.armed), seat.journal)
    coordinator_agent.STAY_SECONDS = STAY_SECONDS
    seat.journal.add("started")
    sys.exit(_persistently(_lend if seat.records is not None else _coordinate, seat))


def _persistently(part: Callable[[Seat, TrainingsClient], str], seat: Seat) -> int:
    """Play a part, again after errors that pass, as a person would; returns the exit code."""
    while True:
        try:
            with TrainingsClient(seat.url, _CLIENT_SECONDS) as client:
                state = part(seat, client)
        except TrisealError as error:
            print(f"{error.code}: {error.message}", flush=True)
            if not may_pass(error):
                return REFUSED
            time.sleep(_AGAIN_SECONDS)
            continue
        print(f"The training is {state}.", flush=True)
        return {"finished": DONE, "cancelled": CANCELLED}[state]


def _coordinate(seat: Seat, client: TrainingsClient) -> str:
    key, patience = make_identity(seat.home), Patience(START_SECONDS, STEP_SECONDS)
    agent = CoordinatorAgent.resume(seat.home, client, key, seat.pins, patience)
    if agent is None:
        agent = CoordinatorAgent.host(
            seat.home, client, key, seat.plan, seat.lenders, seat.pins, patience
        )
    with closing(agent):
        write_atomic(seat.codes, json.dumps(agent.codes).encode())
        return agent.run().state


def _lend(seat: Seat, client: TrainingsClient) -> str:
    if seat.records is None:
        raise TypeError("a lender has rows")
    own = Own(seat.plan.layout, seat.records, make_identity(seat.home), seat.pins)
    agent = LenderAgent.resume(seat.home, client, own)
    if agent is None:
        agent = LenderAgent.join(seat.home, client, seat.name, _code(seat), own)
    with closing(agent):
        return agent.run().state


def _code(seat: Seat) -> str:
    """Return the code for this lender, once the coordinator has written it."""
    end = time.monotonic() + _CODE_SECONDS
    while not seat.codes.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return str(json.loads(seat.codes.read_text())[seat.name])
