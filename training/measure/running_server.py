"""A real server for measurements: `server.py` on a free port, with its own data folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parties.client import ServerClient
from utils.addresses import url_of
from utils.child_process import ChildProcess
from utils.environments import interpreter_of
from utils.errors import ServerUnreachable
from utils.ports import free_port
from utils.scratch_folder import scratch_folder

_ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready; `data` is a temporary folder, also for the parties' files."""

    url: str
    process: int
    data: Path

    def client(self) -> ServerClient:
        """Return a new client of the server."""
        return ServerClient(self.url, _ANSWER_SECONDS)


@contextmanager
def running_server(folder: Path, engine: str) -> Iterator[RunningServer]:
    """Run `server.py` on the deployment in `folder` for the duration of the context.

    Raises ServerUnreachable if it does not start.
    """
    with scratch_folder("triseal-server-") as data:
        port = free_port()
        settings = {
            "engine": engine,
            "deployment": folder.resolve(),
            "server_host": "127.0.0.1",
            "server_port": port,
            "server_data": data / "server",
        }
        process = ChildProcess(
            ["server.py"], data / "server.log", settings, python=interpreter_of(engine)
        )
        process.start()
        try:
            server = RunningServer(url_of("127.0.0.1", port), process.pid, data)
            with server.client() as client:
                process.wait_until(lambda: _is_ready(client))
            yield server
        finally:
            process.stop()


def _is_ready(client: ServerClient) -> bool:
    try:
        return client.health().status == "ok"
    except ServerUnreachable:
        return False  # not listening yet
