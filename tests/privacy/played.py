"""A complete application as deployed: the server and three agents, each in its own process.

The agents are `python -m parties` without a page. They make the keys and send their records; they
are stopped and restarted, resume the application from their folders, agree, and open decision and
explanation. Then they are kept alive, so that their memory can be searched.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parties.client import ServerClient
from parties.joint.codes import JointOpening, open_joint
from tests.parties.running import LiveServer
from tests.privacy.small import PARTIES
from utils.child_process import ChildProcess, launched
from utils.errors import ServerUnreachable

KEPT_ALIVE = (
    "import sys, time; from parties.__main__ import main; code = main(sys.argv[1:]); "
    "print('ended with', code, flush=True); time.sleep(900)"
)
RECORDS: dict[str, dict[str, Any]] = {
    "applicant": {
        "Own_car": True,
        "Own_property": True,
        "Mobile_phone": True,
        "Num_children": 2,
        "Household_size": 4,
        "Total_income": 187654.2512345678,
        "Age": 31.40625017881393,
        "Income_type": "State servant",
        "Education_type": "Academic degree",
        "Family_status": "Widow",
        "Occupation_type": "Realty agents",
        "Housing_type": "Office apartment",
    },
    "bank": {"Account_age": 17},
    "credit_agency": {"Employed": True, "Years_employed": 7.123456789012345},
}


@dataclass
class Played:
    """The processes, their folders and logs, and the join codes and watch token of the opening."""

    folder: Path
    server: LiveServer
    opening: JointOpening
    agents: dict[str, ChildProcess] = field(default_factory=dict)

    def home(self, party: str) -> Path:
        return self.folder / party

    def files(self, party: str) -> Path:
        """Return the party's folder of this application."""
        return self.home(party) / self.opening.client_id / party

    def log(self, party: str) -> Path:
        return self.folder / f"{party}.log"

    @property
    def server_log(self) -> Path:
        return self.server.log_path

    @property
    def server_pid(self) -> int:
        return self.server.pid

    def client(self) -> ServerClient:
        return ServerClient(self.server.url, 30)

    def start_agent(self, party: str, *words: str, program: tuple[str, ...]) -> None:
        command = [*program, "--party", party, "--server", self.server.url]
        command += ["--home", str(self.home(party)), "--no-page", *words]
        self.agents[party] = ChildProcess(command, self.log(party), {})
        self.agents[party].launch = launched  # whose memory is that of users' processes
        self.agents[party].start()

    def join_and_send(self) -> None:
        """Start agents that join, make the keys, send their records, and keep running."""
        for party in PARTIES:
            record = self.folder / f"{party}.json"
            record.write_text(json.dumps(RECORDS[party]))
            words = ("--join", self.opening.codes[party], "--record", str(record))
            self.start_agent(party, *words, program=("-m", "parties"))
        self.wait(lambda: all(b"record was sent" in self.log(p).read_bytes() for p in PARTIES))

    def restart_and_open(self) -> None:
        """Restart the agents, which agree, open the results, and stay alive."""
        self.end_agents()
        for party in PARTIES:
            self.start_agent(party, "--agree", "decide,explain,reasons", program=("-c", KEPT_ALIVE))
        self.wait(lambda: all(b"ended with 0" in self.log(party).read_bytes() for party in PARTIES))

    def wait(self, done: Callable[[], bool], seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not done():
            gone = [p for p, agent in self.agents.items() if not agent.alive]
            logs = {party: self.log(party).read_text() for party in PARTIES}
            assert not gone, f"{gone} ended: {logs}"
            assert time.monotonic() < end, logs
            time.sleep(0.1)

    def end_agents(self) -> None:
        for agent in self.agents.values():
            with suppress(ServerUnreachable):  # it had to be killed
                agent.stop(signal.SIGINT, 15)

    def stop(self) -> None:
        self.end_agents()
        self.server.stop()


def play(folder: Path, deployment: Path) -> Played:
    """Start a levelled server and open an application on it."""
    own = folder / "service"
    own.mkdir()
    server = LiveServer(own, deployment)
    server.launch = launched
    server.settings["engine"] = "levelled"
    server.start()
    with ServerClient(server.url, 30) as client:
        return Played(folder, server, open_joint(client, PARTIES, PARTIES))


def held_by_the_server(played: Played) -> Path:
    """Return the server's data folder."""
    return Path(os.fspath(played.server.settings["server_data"]))
