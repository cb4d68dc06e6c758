"""A real server for measurements: `server.py` on a free port, with its own data folder."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parties.client import ServerClient
from settings import ROOT
from utils.addresses import url_of
from utils.environments import interpreter_of
from utils.errors import ServerUnreachable
from utils.scratch_folder import scratch_folder

_START_SECONDS = 60.0
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
        port = _free_port()
        process = subprocess.Popen(  # noqa: S603  our own server
            [interpreter_of(engine), str(ROOT / "server.py")],
            cwd=ROOT,
            env={
                **os.environ,
                "TRISEAL_ENGINE": engine,
                "TRISEAL_DEPLOYMENT": str(folder.resolve()),
                "TRISEAL_SERVER_HOST": "127.0.0.1",
                "TRISEAL_SERVER_PORT": str(port),
                "TRISEAL_SERVER_DATA": str(data / "server"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            server = RunningServer(url_of("127.0.0.1", port), process.pid, data)
            _wait(server)
            yield server
        finally:
            process.terminate()
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: RunningServer) -> None:
    end = time.monotonic() + _START_SECONDS
    with server.client() as client:
        while time.monotonic() < end:
            try:
                if client.health().status == "ok":
                    return
            except ServerUnreachable:
                pass  # not listening yet
            time.sleep(0.1)
    raise ServerUnreachable("The server did not start for the measurement; try `make demo`.")
