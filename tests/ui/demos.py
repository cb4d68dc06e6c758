"""The whole demonstration as a process, and what became of its children."""

import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from tests.parties.running import ROOT, environment, free_port, standing_still
from tests.ui.links import printed_link


def free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        first = free_port()
        if first + count > 65535:
            continue
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
        return first


def processes():
    """State and parent of every process, by id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            state, parent = stat.rpartition(")")[2].split()[:2]
            found[int(entry.name)] = (state, int(parent))
    return found


class Demo:
    """`python -m ui.demo` with its children."""

    def __init__(self, folder, deployment, engine, more=None, **settings):
        self.page_port, self.output = free_port(), folder / "demo.log"
        self.agent_port, self.server_port = free_ports(8), free_port()
        with self.output.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ui.demo"],
                cwd=ROOT,
                env=environment(
                    engine=engine,
                    deployment=deployment,
                    server_port=self.server_port,
                    server_data=folder / "server",
                    party_data=folder / "parties",
                    page_port=self.page_port,
                    agent_port=self.agent_port,
                    **settings,
                )
                | {"DISPLAY": "", "WAYLAND_DISPLAY": "", **(more or {})},
                stdout=log,
                stderr=log,
            )

    def wait_until(self, words):
        deadline = time.monotonic() + 120
        while words not in self.output.read_text():
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.output.read_text()
            )
            time.sleep(0.1)

    @property
    def link(self) -> str:
        """What opens the page, once it is printed."""
        return printed_link(self.output.read_text())

    def family(self) -> list[int]:
        """The ids of all processes below the demonstration's."""
        parents = {pid: parent for pid, (state, parent) in processes().items() if state != "Z"}
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def command(self, pid: int) -> str:
        """The command line of a process."""
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")

    def stuck(self):
        """A context in which the server's workers stand still."""
        (server,) = [pid for pid in self.family() if "server.py" in self.command(pid)]
        return standing_still(psutil.Process(server).children(recursive=True))

    def agent_ports(self, count: int) -> list[int]:
        """Where the parties' own pages are."""
        return list(range(self.agent_port, self.agent_port + count))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def alive(pids):
    """Those that still run: not gone, and not only waiting for an init that reaps nobody."""
    running = processes()
    return [pid for pid in pids if running.get(pid, ("Z", 0))[0] != "Z"]
