"""A real server for measurements: `server.py` on a free port, with its own data folder.

A witness can run beside it, as in the demonstration.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from parties.client import ServerClient
from utils.addresses import url_of
from utils.child_process import ChildProcess
from utils.environments import interpreter_of
from utils.errors import ServerUnreachable
from utils.ports import free_port
from utils.scratch_folder import scratch_folder
from witness.key import claim_home, load_key, public_hex

_ANSWER_SECONDS = 120.0
_WITNESS = "Auditor"


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready; `data` is a temporary folder, also for the parties' files.

    `witness` is the id of the witness's process; None if there is none.
    """

    url: str
    process: int
    data: Path
    witness: int | None = None

    def client(self) -> ServerClient:
        """Return a new client of the server."""
        return ServerClient(self.url, _ANSWER_SECONDS)


@contextmanager
def running_server(
    folder: Path, engine: str, *, witnessed: bool = False
) -> Iterator[RunningServer]:
    """Run `server.py` on the deployment in `folder` for the duration of the context.

    With `witnessed`, a witness with its own process signs every result. Raises ServerUnreachable if
    a process does not start.
    """
    with scratch_folder("triseal-server-") as data, ExitStack() as stack:
        port = free_port()
        home = data / "witness"
        settings = {
            "engine": engine,
            "deployment": folder.resolve(),
            "server_host": "127.0.0.1",
            "server_port": port,
            "server_data": data / "server",
        }
        if witnessed:
            settings["witnesses"] = f"{_WITNESS}={public_hex(load_key(claim_home(home)))}"
        process = ChildProcess(
            ["server.py"], data / "server.log", settings, python=interpreter_of(engine)
        )
        stack.callback(process.stop)
        process.start()
        url = url_of("127.0.0.1", port)
        with ServerClient(url, _ANSWER_SECONDS) as client:
            process.wait_until(lambda: _is_ready(client))
        witness = None
        if witnessed:
            options = ["--name", _WITNESS, "--home", str(home), "--server", url]
            words = ["-m", "witness", *options, "--port", str(free_port())]
            own = {"engine": engine, "deployment": folder.resolve()}
            witness = ChildProcess(words, data / "witness.log", own)
            stack.callback(witness.stop)
            witness.start()
        yield RunningServer(url, process.pid, data, witness.pid if witness else None)


def _is_ready(client: ServerClient) -> bool:
    try:
        return client.health().status == "ok"
    except ServerUnreachable:
        return False  # not listening yet
