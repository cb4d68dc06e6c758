"""One training under trial: a coordinator and its lenders as processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from contract.trainings import COORDINATOR
from federated.agents.coordinator_agent import STATE_FILE as COORDINATOR_FILE
from federated.agents.lender_agent import STATE_FILE as LENDER_FILE
from federated.agents.state_file import StateFile
from parties.identity_file import make_identity
from trials.faults.application import Broken
from trials.federated.agents import AgentSetup, started
from trials.federated.case import Case
from trials.servers import Server

ENDS = "the training finishes"
END_SECONDS = 90.0
_JOIN_SECONDS = 30.0
_LOOK_SECONDS = 0.01

T = TypeVar("T")


class Training:
    """The processes of one training. `gone` are lenders that never come back."""

    def __init__(
        self, case: Case, folder: Path, server: Server, doubles: dict[str, str] | None = None
    ) -> None:
        """Make the agents' folders; `doubles` names the rule that an agent is without."""
        self.case, self.folder, self.server = case, folder, server
        self.gone: set[str] = set()
        self.refused: set[str] = set()
        """Lenders for which the training has ended with an error that a fault explains."""
        self._processes: dict[str, BaseProcess] = {}
        self._starting, self._serving = threading.Lock(), threading.Lock()
        self._polling = threading.Lock()  # of two threads, one would read no exit code, but 255
        folder.mkdir()
        homes = {name: folder / "homes" / name for name in (COORDINATOR, *case.names)}
        pins = {name: make_identity(home).public for name, home in homes.items()}
        rules = doubles or {}
        self.setups = {
            name: AgentSetup(
                name=name,
                folder=folder,
                url=server.url,
                plan=case.plan,
                pins={other: pin for other, pin in pins.items() if other != name},
                codes=folder / "codes",
                records=case.records.get(name),
                lenders=case.names if name == COORDINATOR else (),
                double=rules.get(name, rules.get("lenders", "") if name != COORDINATOR else ""),
            )
            for name in homes
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The lenders."""
        return self.case.names

    @property
    def here(self) -> tuple[str, ...]:
        """The lenders, without those that never come back."""
        return tuple(name for name in self.names if name not in self.gone)

    @property
    def everyone(self) -> tuple[str, ...]:
        return tuple(self.setups)

    # ---- processes

    def start(self, *names: str) -> None:
        """Start the agents, or start them again from their folders."""
        for name in names:
            with self._starting:  # two faults at once may be about the same agent
                if name not in self.gone and not self.runs(name):
                    self._processes[name] = started(self.setups[name])

    def kill(self, *names: str) -> None:
        """Kill the agents' processes at the same time, and wait for their ends."""
        for name in names:
            self._signal(name, signal.SIGKILL)
        for name in names:
            if name in self._processes:
                self._join(name)

    def restart_server(self, *names: str) -> None:
        """Kill the server and these agents, and start them again."""
        with self._serving:
            self.server.kill()
            self.kill(*names)
            self.server.start()
            self.start(*names)
            self.server.wait()

    def halt(self, *names: str) -> None:
        """Stop the processes without ending them."""
        for name in names:
            self._signal(name, signal.SIGSTOP)

    def go_on(self, *names: str) -> None:
        """Continue processes that were stopped."""
        for name in names:
            self._signal(name, signal.SIGCONT)

    def arm(self, name: str, point: str) -> None:
        """Have an agent's process kill itself at the next point of this name."""
        fresh = self.setups[name].armed.with_suffix(".new")
        fresh.write_text(point)
        fresh.replace(self.setups[name].armed)

    def disarm(self, name: str) -> bool:
        """Return True if the agent has reached its point, where it has killed itself."""
        try:
            self.setups[name].armed.unlink()
        except FileNotFoundError:
            self._join(name)
            return True
        return False

    def runs(self, name: str) -> bool:
        """Return True unless the agent's process has ended or was never started."""
        return name in self._processes and self.exit_code(name) is None

    def exit_code(self, name: str) -> int | None:
        """Return the exit code of an agent; None if it runs, or was never started."""
        process = self._processes.get(name)
        with self._polling:
            return None if process is None else process.exitcode

    def _join(self, name: str) -> None:
        """Wait for the end of an agent's process."""
        wait([self._processes[name].sentinel], _JOIN_SECONDS)

    def stop(self) -> None:
        """Kill all processes, and remove the files."""
        for name in self._processes:
            self.go_on(name)
        self.kill(*self._processes)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, name: str, number: signal.Signals) -> None:
        process = self._processes.get(name)
        if process is not None and process.pid is not None and self.runs(name):
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    # ---- progress

    @property
    def over(self) -> bool:
        """True if the coordinator's process has come to the end of the training."""
        return self.exit_code(COORDINATOR) is not None and not self.runs(COORDINATOR)

    def opened(self) -> int:
        """Return the number of sums that the coordinator has opened."""
        return self.setups[COORDINATOR].journal.count("opened")

    def until_opened(self, sums: int) -> None:
        """Wait until so many sums were opened, or the training is over."""
        self.until(lambda: self.opened() >= sums or self.over, f"{sums} sums are opened")

    def until(self, holds: Callable[[], T], awaited: str, seconds: float = END_SECONDS) -> T:
        """Return the first true value of `holds`; raises Broken when the time is over."""
        found = until(holds, seconds)
        if not found:
            raise Broken(ENDS, f"waited {seconds:g} s until {awaited}; {self.told()}")
        return found

    def waits_for_gone(self) -> bool:
        """True if the coordinator says that it waits for a lender that never comes back."""
        reason = str(self.seen().get("reason"))
        return reason.startswith("Waiting for") and any(name in reason for name in self.gone)

    def seen(self) -> dict[str, Any]:
        """Return the state that the coordinator has saved last, while it runs; empty before."""
        path = self.state_file(COORDINATOR)
        if not path.exists():
            return {}
        with closing(sqlite3.connect(path)) as database, suppress(sqlite3.OperationalError):
            row = database.execute("SELECT body FROM parts WHERE name = 'coordinator'").fetchone()
            return {} if row is None else dict(json.loads(row[0]))
        return {}  # its tables are not made yet

    def bring_back(self) -> None:
        """Have the lenders come back that never should."""
        names, self.gone = sorted(self.gone), set()
        self.go_on(*names)
        self.start(*names)

    def told(self) -> str:
        """Return how far the training is, for a report."""
        codes = {name: self.exit_code(name) for name in self.everyone}
        logs = {name: self.log(name)[-300:] for name in self.everyone}
        seen = self.seen()
        lenders = {name: one["status"] for name, one in seen.get("lenders", {}).items()}
        where = {key: seen.get(key) for key in ("phase", "step", "reason", "roster")}
        return f"{where}, lenders {lenders}, exit codes {codes}, logs {logs}"

    def log(self, name: str) -> str:
        """Return an agent's output."""
        path = self.setups[name].log
        return path.read_text(errors="replace") if path.exists() else ""

    # ---- files

    def state_file(self, name: str) -> Path:
        """Return the path of an agent's database."""
        own = COORDINATOR_FILE if name == COORDINATOR else LENDER_FILE
        return self.setups[name].home / own

    def stored(self, name: str, *parts: str) -> tuple[list[bytes | None], tuple[bytes, ...]]:
        """Return parts and all results of an agent that has ended, from its database."""
        file = StateFile.open(self.state_file(name))
        try:
            return [file.part(part) for part in parts], file.results()
        finally:
            file.close()


def until(holds: Callable[[], T], seconds: float) -> T:
    """Return the first true value of `holds`, or its last one when the time is over."""
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(_LOOK_SECONDS)
    return found


def modes_of(folder: Path) -> Iterable[tuple[Path, int]]:
    """Yield the files in a folder with the permissions that other users have."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.stat().st_mode & 0o077
