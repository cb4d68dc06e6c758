"""Agents in processes of their own, as started by `python -m parties`."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

from parties.client import ServerClient
from parties.joint.codes import open_joint
from utils.child_process import ChildProcess

WAIT_SECONDS = 60


class AgentProcess(ChildProcess):
    """One party's agent without a page, and its output."""

    def __init__(self, folder: Path, party: str, server: str, *words: str, stdin: str = "") -> None:
        self.party, self.home = party, folder / party
        own = ["--party", party, "--server", server, "--home", str(self.home), "--no-page"]
        settings = {"party_data": folder / "unused"}
        super().__init__(["-m", "parties", *own, *words], folder / f"{party}.log", settings)
        self.start(stdin)

    @property
    def printed(self) -> str:
        return self.log()

    def wait_for(self, words: str) -> str:
        """Wait until the agent has printed `words`; return the rest of that line."""
        found = re.compile(re.escape(words) + "(.*)")
        self.wait_until(lambda: found.search(self.printed) is not None, WAIT_SECONDS)
        return found.search(self.printed)[1]

    def end(self) -> int:
        """Wait until the agent exits by itself; return its exit code."""
        return self.join(WAIT_SECONDS)

    def interrupt(self) -> int:
        """Interrupt the agent, as Ctrl-C does; return its exit code."""
        self.send(signal.SIGINT)
        return self.end()


class Agents:
    """The agents of one application, each with its record in a file."""

    def __init__(self, folder: Path, url: str, records: dict[str, dict], readers=None) -> None:
        self.folder, self.url, self.started = folder, url, []
        with ServerClient(url, 30) as client:
            self.opening = open_joint(client, readers, readers or list(records))
        self.files = {}
        for party, record in records.items():
            self.files[party] = folder / f"{party}.json"
            self.files[party].write_text(json.dumps(record))

    def start(self, party: str, *words: str, join: bool = True) -> AgentProcess:
        code = ("--join", self.opening.codes[party]) if join else ()
        self.started.append(AgentProcess(self.folder, party, self.url, *code, *words))
        return self.started[-1]

    def play(self, party: str, agree: str = "decide,explain", join: bool = True) -> AgentProcess:
        """Start an agent that sends its record and agrees in advance."""
        return self.start(party, "--record", str(self.files[party]), "--agree", agree, join=join)

    def stop(self) -> None:
        for agent in self.started:
            agent.kill()
