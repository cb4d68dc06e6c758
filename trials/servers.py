"""Real servers for the trials: processes that can be killed and restarted on the same data."""

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
    """The common set-up of a trial's servers: the command, and settings by name."""

    settings: Mapping[str, Any]
    command: tuple[str, ...] = ("server.py",)
    shared: bool = False
    """True if several servers can share database and blobs, as with PostgreSQL and S3."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Values of settings that must never appear in a log."""


def add_server_options(parser: ArgumentParser) -> None:
    """Add the options on the servers' storage and executor."""
    group = parser.add_argument_group("servers")
    group.add_argument("--database", help="PostgreSQL URL; SQLite by default")
    group.add_argument("--blobs", help="URL of the blobs, for example s3://bucket/prefix")
    group.add_argument("--blob-options", default="{}", help="JSON options for fsspec")
    group.add_argument("--executor", choices=("local", "ray"), default="local")
    group.add_argument("--ray-address", help="host:port of the head node of a Ray cluster")
    group.add_argument("--servers", type=int, default=1, help="API nodes; several share a database")
    group.add_argument("--workers", type=int, help="concurrent evaluations per server")


def settings_of(options: Namespace) -> dict[str, Any]:
    """Return the servers' settings from the options; raises ServerUnreachable."""
    if options.servers > 1 and not (options.database and options.blobs):
        raise ServerUnreachable(
            "Several servers need shared storage: set --database and --blobs as well."
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
    """Return the set-up from the options and a trial's own settings; raises ServerUnreachable."""
    secrets = [value for value in json.loads(options.blob_options).values() if value]
    return Setup(
        {**settings_of(options), **settings},
        command,
        shared=bool(options.database),
        secrets=tuple(s for s in secrets if isinstance(s, str) and not s.startswith("http")),
    )


class Server:
    """One API node: its folder, its port and its process, which can be restarted."""

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
        """Start the process, with the same data and port as before."""
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-W", "ignore::DeprecationWarning", *self._setup.command],
                cwd=ROOT,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C goes to the trial, which then ends its servers
            )
        self.starts += 1

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Wait until the server is ready; raises ServerUnreachable with the end of its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.alive:
            if self.ready():
                return
            time.sleep(0.05)
        raise ServerUnreachable(f"{self.name} did not become ready: {self.log()[-_LOG_TAIL:]}")

    def ready(self) -> bool:
        """Return True if /health returns 200."""
        try:
            answer = httpx.get(f"{self.url}/health", timeout=ANSWER_SECONDS, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    @property
    def alive(self) -> bool:
        """True if the process runs."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def process(self) -> psutil.Process:
        """The process; raises EngineUnavailable if it was never started."""
        if self._popen is None:
            raise EngineUnavailable(f"{self.name} has not been started.")
        return psutil.Process(self._popen.pid)

    def children(self) -> list[psutil.Process]:
        """Return all descendants of the process; empty if it has ended."""
        return descendants(self._popen.pid) if self._popen is not None and self.alive else []

    def kill(self) -> list[psutil.Process]:
        """Kill the process with SIGKILL; returns the processes that it leaves behind."""
        if self._popen is None:
            return []
        left = self.children()
        self._popen.kill()
        self._popen.wait(STOP_SECONDS)
        return left

    def stop(self) -> int | None:
        """Stop with SIGTERM; returns the exit code, or None if it had to be killed."""
        if self._popen is None:
            return None
        self._popen.send_signal(signal.SIGTERM)
        try:
            return self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def log(self) -> str:
        """Return the output of its processes so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def operator_token(self) -> str:
        """Return the operator token, generated or from the settings."""
        given = self._setup.settings.get("operator_token")
        return str(given or (self.data / "operator_token").read_text().strip())

    def _environment(self) -> dict[str, str]:
        settings = {
            "server_host": "127.0.0.1",
            "server_port": self.port,
            "server_data": self.data,
            **self._setup.settings,
        }
        # Settings of this environment are meant for other servers.
        others = {n: v for n, v in os.environ.items() if not n.upper().startswith("TRISEAL_")}
        return {**others, **{f"TRISEAL_{n.upper()}": str(v) for n, v in settings.items()}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
