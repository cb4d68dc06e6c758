"""Real servers for the trials: processes that can be killed and started again on the same data."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from settings import ROOT
from trials.processes import descendants
from utils.addresses import url_of
from utils.atomic_files import private_folder
from utils.errors import EngineUnavailable, ServerUnreachable

START_SECONDS = 90.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 5.0
_LOG_TAIL = 2000


@dataclass(frozen=True)
class Setup:
    """What all servers of a trial have in common: the command, and settings by their names."""

    settings: Mapping[str, Any]
    command: tuple[str, ...] = ("server.py",)
    shared: bool = False
    """Whether several servers may share database and blobs, as PostgreSQL and S3 let them."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What of the settings must never be in a log."""


def add_server_options(parser: ArgumentParser) -> None:
    """The options that say where servers keep things and who evaluates."""
    group = parser.add_argument_group("servers")
    group.add_argument("--database", help="PostgreSQL's URL; SQLite where it is left out")
    group.add_argument("--blobs", help="where ciphertexts lie, such as s3://bucket/prefix")
    group.add_argument("--blob-options", default="{}", help="JSON for fsspec, such as an endpoint")
    group.add_argument("--executor", choices=("local", "ray"), default="local")
    group.add_argument("--ray-address", help="host:port of the head of Ray's cluster")
    group.add_argument("--servers", type=int, default=1, help="API nodes; several share a database")
    group.add_argument("--workers", type=int, help="evaluations at once on every server")


def settings_of(options: Namespace) -> dict[str, Any]:
    """The servers' settings that these options stand for; raises ServerUnreachable."""
    if options.servers > 1 and not (options.database and options.blobs):
        raise ServerUnreachable(
            "Several servers need what they can share: give --database and --blobs as well."
        )
    settings: dict[str, Any] = {"executor": options.executor}
    if options.workers:
        settings["workers"] = options.workers
    if options.database:
        settings["database_url"] = options.database
    if options.blobs:
        settings |= {"blob_url": options.blobs, "blob_options": options.blob_options}
    if options.ray_address:
        settings["ray_address"] = options.ray_address
    return settings


def setup_of(options: Namespace, command: tuple[str, ...], **settings: Any) -> Setup:
    """The set-up of these options; `settings` are a trial's own. Raises ServerUnreachable."""
    secrets = [value for value in json.loads(options.blob_options).values() if value]
    return Setup(
        {**settings_of(options), **settings},
        command,
        shared=bool(options.database),
        secrets=tuple(s for s in secrets if isinstance(s, str) and not s.startswith("http")),
    )


class Server:
    """One API node: its folder, its port and its process, which may come and go."""

    def __init__(self, name: str, folder: Path, setup: Setup) -> None:
        self.name = name
        self.data = folder / name
        self.log_path = folder / f"{name}.log"
        self.port = _free_port()
        self.url = url_of("127.0.0.1", self.port)
        self.starts = 0
        self._setup = setup
        self._popen: subprocess.Popen[bytes] | None = None
        private_folder(folder)

    def start(self) -> None:
        """Start the process, on the data and the port that it had before."""
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-W", "ignore::DeprecationWarning", *self._setup.command],
                cwd=ROOT,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the trial, which then ends its servers
            )
        self.starts += 1

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Wait until it is ready; raises ServerUnreachable, with the end of its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive:
            if self.ready():
                return
            time.sleep(0.05)
        raise ServerUnreachable(f"{self.name} does not get ready: {self.log()[-_LOG_TAIL:]}")

    def ready(self) -> bool:
        """Whether it answers that it is."""
        try:
            answer = httpx.get(f"{self.url}/health", timeout=ANSWER_SECONDS, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def process(self) -> psutil.Process:
        """Its process; raises EngineUnavailable where it has none."""
        if self._popen is None:
            raise EngineUnavailable(f"{self.name} has not been started.")
        return psutil.Process(self._popen.pid)

    def children(self) -> list[psutil.Process]:
        """All processes below its own; none where it has ended."""
        return descendants(self._popen.pid) if self._popen is not None and self.alive else []

    def kill(self) -> list[psutil.Process]:
        """`kill -9`; answers the processes that it leaves behind."""
        if self._popen is None:
            return []
        left = self.children()
        self._popen.kill()
        self._popen.wait(STOP_SECONDS)
        return left

    def stop(self) -> int | None:
        """End it as an operator would; its exit code, None where it had to be killed."""
        if self._popen is None:
            return None
        self._popen.send_signal(signal.SIGTERM)
        try:
            return self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def log(self) -> str:
        """All that its processes have written so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def operator_token(self) -> str:
        """The token that it drew, or was given."""
        given = self._setup.settings.get("operator_token")
        return str(given or (self.data / "operator_token").read_text().strip())

    def _environment(self) -> dict[str, str]:
        settings = {
            "server_host": "127.0.0.1",
            "server_port": self.port,
            "server_data": self.data,
            **self._setup.settings,
        }
        # What is set for other servers of this machine is not meant for this one.
        others = {n: v for n, v in os.environ.items() if not n.upper().startswith("TRISEAL_")}
        return {**others, **{f"TRISEAL_{n.upper()}": str(v) for n, v in settings.items()}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
