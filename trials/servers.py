"""Servers for trials and tests: processes that can be killed and restarted on the same data."""

from __future__ import annotations

import json
import secrets
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from trials.processes import descendants, has_words
from utils.addresses import url_of
from utils.atomic_files import private_folder
from utils.child_process import ChildProcess
from utils.errors import ServerUnreachable
from utils.ports import free_port

QUIET = ("-W", "ignore::DeprecationWarning")
REAL_SERVER: tuple[str, ...] = (*QUIET, "server.py")
"""The command of a server with an engine of the deployment."""
STAND_IN_SERVER: tuple[str, ...] = (*QUIET, "-m", "trials.stand_in_server")
"""The command of a server with the stand-in engine."""
_HEALTH_SECONDS = 5.0
_WORKER_WORDS = ("spawn_main",)


@dataclass(frozen=True)
class Setup:
    """The common set-up of servers: the command, and settings by name."""

    settings: Mapping[str, Any]
    command: tuple[str, ...] = REAL_SERVER
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
    group.add_argument(
        "--executor", choices=("local", "ray"), default="local", help="where evaluations run"
    )
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
        settings["log_key"] = secrets.token_hex(32)  # one for all servers of the database
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


class Server(ChildProcess):
    """One API node: its folder, its port and its process, which can be restarted.

    `settings` may be changed; the changes apply from the next start.
    """

    def __init__(self, name: str, folder: Path, setup: Setup) -> None:
        """Choose a free port unless the settings have one; the log is `folder`/`name`.log."""
        self.name = name
        self.data = folder / name
        self.port = int(setup.settings.get("server_port") or free_port())
        self.url = url_of("127.0.0.1", self.port)
        self.starts = 0
        self.settings: dict[str, Any] = {
            "server_host": "127.0.0.1",
            "server_data": self.data,
            **setup.settings,
            "server_port": self.port,
        }
        private_folder(folder)
        super().__init__(setup.command, folder / f"{name}.log", self.settings)

    def start(self, stdin: str = "") -> None:
        """Start the process, with the same data and port as before."""
        super().start(stdin)
        self.starts += 1

    def wait(self, status: int = 200) -> Self:
        """Wait until /health returns `status`; return the server.

        Raises ServerUnreachable with the end of its log.
        """

        with httpx.Client(timeout=_HEALTH_SECONDS, trust_env=False) as http:

            def reached() -> bool:
                try:
                    return http.get(f"{self.url}/health").status_code == status
                except httpx.TransportError:
                    return False  # not listening yet

            self.wait_until(reached)
        return self

    def try_stop(self) -> int | None:
        """Stop with SIGTERM; return the exit code, or None if the server had to be killed."""
        try:
            return self.stop()
        except ServerUnreachable:
            return None

    @property
    def process(self) -> psutil.Process:
        """The process; raises ServerUnreachable if it was never started."""
        return psutil.Process(self.pid)

    def children(self) -> list[psutil.Process]:
        """Return all descendants of the process; empty if it has ended."""
        return descendants(self.pid) if self.alive else []

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes, without Python's own helper processes."""
        return [process for process in self.children() if has_words(process, _WORKER_WORDS)]

    def operator_token(self) -> str:
        """Return the operator token, generated or from the settings."""
        given = self.settings.get("operator_token")
        return str(given or (self.data / "operator_token").read_text().strip())
