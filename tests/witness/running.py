"""A real witness process, and the members of an application that it checks."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from engines.interface import DECIDE
from parties.joint.member import JointMember
from utils.child_process import ChildProcess
from utils.ports import free_port
from witness.key import claim_home, load_key, public_hex


class WitnessProcess(ChildProcess):
    """A witness with its own folder, key and status page, for the server at `url`."""

    def __init__(self, folder: Path, deployment: Path, url: str) -> None:
        self.home, self.port = folder / "witness", free_port()
        self.key = load_key(claim_home(self.home))
        self.public = public_hex(self.key)
        words = ["-m", "witness", "--home", str(self.home), "--port", str(self.port)]
        words += ["--server", url, "--deployment", str(deployment)]
        super().__init__(words, folder / "witness.log", {"party_data": folder / "unused"})

    def start(self, stdin: str = "") -> None:
        super().start(stdin)
        self.wait_until(self._serves)

    def status(self) -> dict:
        """Return what its status page says, as JSON."""
        return httpx.get(f"http://127.0.0.1:{self.port}/status", trust_env=False).json()

    def _serves(self) -> bool:
        try:
            return bool(self.status())
        except httpx.TransportError:
            return False


class Table:
    """The members of a session's application, played one by one."""

    def __init__(self, session):
        self.names = session.plays
        self.members = {
            name: JointMember.resume(session.connection, session.client_id, name)
            for name in sorted(self.names)
        }

    def pump(self, done=lambda: False, seconds=0.5):
        """Advance all members until `done`, at most `seconds`."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            for member in self.members.values():
                member.advance(0.02)

    def close(self):
        for member in self.members.values():
            member.close()


def agreed_and_run(table):
    """Agree to the decision with all members, and wait until its run is done."""

    def ran():
        states = [member.state for member in table.members.values()]
        return all(state.programs[DECIDE].status == "done" for state in states)

    for member in table.members.values():
        member.advance()
        member.agree(DECIDE)
    table.pump(ran, 30)
    assert ran()


def parts(table):
    """Return the steps of all parts of an opening that any member has made or got."""
    return [
        step
        for member in table.members.values()
        for step in member.own.protocol.conversation.state.inbox
        if step.startswith("partial")
    ]
