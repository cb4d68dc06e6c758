"""The whole demonstration as a process, and its child processes."""

import asyncio
import os
import socket
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
from anyio.from_thread import start_blocking_portal

from tests.parties.running import standing_still
from tests.ui.links import printed_link
from utils.child_process import ChildProcess
from utils.ports import free_port


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


@contextmanager
def relayed_from_ipv4(ports):
    """Relay these ports of 127.0.0.1 to the same ports of ::1, within the context."""

    async def copy(reader, writer):
        with suppress(OSError), closing(writer):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

    async def relay(port, reader, writer):
        with suppress(OSError), closing(writer):
            there = await asyncio.open_connection("::1", port)
            await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    with start_blocking_portal() as portal:
        servers = [
            portal.call(asyncio.start_server, partial(relay, port), "127.0.0.1", port)
            for port in ports
        ]
        yield
        for server in servers:
            portal.call(server.close)


class Demo(ChildProcess):
    """`python -m ui.demo` with its children."""

    def __init__(self, folder, deployment, engine, more=None, **settings):
        self.page_port, self.server_port = free_port(), free_port()
        self._logs = folder / "logs"
        self.agent_port, self.compliance_port = free_ports(8), free_port()
        self.consent_ports = {"owner": free_port(), "institution": free_port()}
        settings = {
            "engine": engine,
            "deployment": deployment,
            "server_port": self.server_port,
            "logs": folder / "logs",
            "server_data": folder / "server",
            "party_data": folder / "parties",
            "page_port": self.page_port,
            "agent_port": self.agent_port,
            "compliance_port": self.compliance_port,
            "owner_port": self.consent_ports["owner"],
            "institution_port": self.consent_ports["institution"],
            "witness_port": free_port(),
            "witness_data": folder / "witness",
            # Almost none, since another process of the tests may be busy; not 0, so that the
            # evaluation has a session of its own.
            "evaluation_niceness": 1,
            **settings,
        }
        variables = {"DISPLAY": "", "WAYLAND_DISPLAY": "", **(more or {})}
        super().__init__(["-m", "ui.demo"], folder / "demo.log", settings, variables)
        self.start()

    def wait_for(self, words):
        """Wait until the demonstration has printed `words`."""
        self.wait_until(lambda: words in self.log(), 120)

    def logged(self) -> str:
        """Return the logs of all processes."""
        return "".join(path.read_text() for path in sorted(self._logs.glob("*.log*")))

    @property
    def link(self) -> str:
        """Return the link of the page, once it is printed."""
        return printed_link(self.log())

    def family(self) -> list[int]:
        """Return the ids of all descendants of the demonstration."""
        parents = {pid: parent for pid, (state, parent) in processes().items() if state != "Z"}
        found = [self.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def command(self, pid: int) -> str:
        """Return the command line of a process."""
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")

    def stuck(self):
        """Suspend evaluations within the context; uploads are still checked."""
        (server,) = [pid for pid in self.family() if "server.py" in self.command(pid)]
        workers = psutil.Process(server).children(recursive=True)
        evaluating = [worker for worker in workers if os.getsid(worker.pid) == worker.pid]
        assert len(evaluating) == 1
        return standing_still(evaluating)

    def agent_ports(self, count: int) -> list[int]:
        """Return the addresses of the parties' own pages."""
        return list(range(self.agent_port, self.agent_port + count))


def alive(pids):
    """Return the processes that still run, without zombies."""
    running = processes()
    return [pid for pid in pids if running.get(pid, ("Z", 0))[0] != "Z"]
