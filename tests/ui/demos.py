"""The whole demonstration as a process, and its child processes."""

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
    """Return the first of `count` consecutive free ports."""
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
    """Return the state and the parent of every process, by id."""
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
        """Return the link of the page, once it is printed."""
        return printed_link(self.output.read_text())

    def family(self) -> list[int]:
        """Return the ids of all descendants of the demonstration."""
        parents = {pid: parent for pid, (state, parent) in processes().items() if state != "Z"}
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def command(self, pid: int) -> str:
        """Return the command line of a process."""
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")

    def stuck(self):
        """Suspend the server's workers within the context."""
        (server,) = [pid for pid in self.family() if "server.py" in self.command(pid)]
        return standing_still(psutil.Process(server).children(recursive=True))

    def agent_ports(self, count: int) -> list[int]:
        """Return the addresses of the parties' own pages."""
        return list(range(self.agent_port, self.agent_port + count))

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def alive(pids):
    """Return the processes that still run, without zombies."""
    running = processes()
    return [pid for pid in pids if running.get(pid, ("Z", 0))[0] != "Z"]
