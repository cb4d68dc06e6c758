"""Schedules whose parties are processes, which are killed with SIGKILL at random times.

The server is a process too, and honest. Parties note every share in a file before they use it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from engines.interface import PROGRAMS, PublicModel
from features.encoding import Layout
from parties.client import ServerClient
from parties.joint.codes import open_joint
from parties.joint.identities import Trust
from parties.joint.member import JointMember
from parties.store import PartyStore
from trials.joint_stand_in import SIGNS, JointStandIn
from trials.schedules.person import goes_on
from trials.schedules.schedule import Outcome
from trials.servers import Server, Setup
from utils.errors import TrisealError

SECONDS = 8.0
"""Longest time of a schedule; one that takes longer ends without all shares."""


@contextmanager
def stand_in_server(folder: Path) -> Iterator[str]:
    """Run a server with the stand-in engine that opens signs; its URL."""
    settings = {"engine": "clear", "deployment": folder / SIGNS, "disk_reserve_megabytes": 1}
    server = Server("server", folder, Setup(settings, ("-m", "trials.joint_stand_in")))
    server.start()
    try:
        server.wait()
        yield server.url
    finally:
        server.stop()


class NotingEngine(JointStandIn):
    """Appends a line with digests to a file for every share, before the party gets the share."""

    def __init__(self, public: PublicModel, notes: Path) -> None:
        super().__init__(public)
        self._notes = notes

    def partial(self, program: str, result: bytes, party: str, *rest: Any) -> bytes:
        share = super().partial(program, result, party, *rest)
        words = (party, program, hashlib.sha256(result).hexdigest(), share.hex())
        file = os.open(self._notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, " ".join(words).encode() + b"\n")
        os.close(file)
        return share


class Application:
    """One application; `pids` are the processes of each party."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.notes = folder / "notes"
        folder.mkdir()
        with ServerClient(url, 30.0) as client:
            self.public = client.model()
            self.names = self.public.schema_.party_names
            opening = open_joint(client, self.names, self.names)
            self.client_id = opening.client_id
            for name in self.names:
                JointMember.join(self._connection(client, name), name, opening.codes[name]).close()
        self.pids: dict[str, list[int]] = defaultdict(list)

    def _connection(self, client: ServerClient, name: str) -> Any:
        return SimpleNamespace(
            client=client,
            store=PartyStore(self.folder / name),
            hours=24.0,
            witnesses=None,
            engine_lock=threading.Lock(),
            joint_engine=NotingEngine(self.public, self.notes),
            layout=Layout(self.public.schema_),
            public=self.public,
            trust=Trust(),
        )

    def own_folder(self, name: str) -> Path:
        return self.folder / name / self.client_id / name

    def start(self, name: str) -> None:
        """Fork a process that plays a party, waiting for its folder if another one plays it."""
        pid = os.fork()
        if pid:
            self.pids[name].append(pid)
            return
        try:
            self._live(name)
        finally:
            os._exit(0)

    def _live(self, name: str) -> None:
        connection = self._connection(ServerClient(self.url, 10.0), name)
        end = time.monotonic() + 2 * SECONDS
        while time.monotonic() < end:
            try:
                with JointMember.resume(connection, self.client_id, name, SECONDS) as member:
                    while time.monotonic() < end:
                        goes_on(member)
            except TrisealError:
                pass  # another process plays the party, or a message is not there yet
            time.sleep(0.01)

    def kill(self, name: str) -> None:
        """Kill the processes of a party, and wait for their ends."""
        for pid in self.pids.pop(name, []):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def shares(self) -> dict[tuple[str, str], set[str]]:
        """Return the different shares made so far, by party and program."""
        made: dict[tuple[str, str], set[str]] = defaultdict(set)
        if self.notes.exists():
            for line in self.notes.read_text().splitlines():
                party, program, share = line.split(" ", 2)
                made[party, program].add(share)
        return made


def play_with_processes(seed: int, url: str, folder: Path) -> Outcome:
    """Play the schedule of this number; the processes' own timing differs from run to run."""
    draw, outcome = Random(seed), Outcome(seed)  # noqa: S311 - choices, not secrets
    application = Application(url, folder)
    try:
        _play(application, draw, outcome.faults)
    finally:
        for name in application.names:
            application.kill(name)
    made = application.shares()
    outcome.shares = len(made)
    outcome.opened = {p for p in PROGRAMS if len(_given(application, p)) == 3}
    for (party, program), shares in made.items():
        if len(shares) > 1:
            outcome.violated = f"{party} made {len(shares)} different shares of {program}"
    shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _given(application: Application, program: str) -> set[str]:
    return {party for party, p in application.shares() if p == application.public.final(program)}


def _all_given(application: Application) -> bool:
    parties = len(application.names)
    programs = [p for p in PROGRAMS if p in application.public.programs]
    return all(len(_given(application, program)) == parties for program in programs)


def _play(application: Application, draw: Random, faults: Counter[str]) -> None:
    weak, saved = draw.choice(application.names), application.folder / "saved"
    for name in application.names:
        application.start(name)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and not _all_given(application):
        time.sleep(draw.uniform(0.02, 0.3))
        name = draw.choice(application.names)
        if draw.random() < 0.3:
            faults["second process for a folder"] += 1
        else:
            application.kill(name)
            faults["SIGKILL"] += 1
            if name == weak and not saved.exists() and draw.random() < 0.5:
                shutil.copytree(application.own_folder(name), saved)
        application.start(name)
    if saved.exists():
        application.kill(weak)
        shutil.rmtree(application.own_folder(weak))
        shutil.copytree(saved, application.own_folder(weak))
        faults["folder put back"] += 1
        application.start(weak)
        time.sleep(0.5)
