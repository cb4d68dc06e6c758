"""A Ray cluster of several nodes on this machine, started as an operator would."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import psutil

from utils.ports import free_port

HOST = "127.0.0.1"
START_SECONDS = 90.0
OBJECT_STORE = 200_000_000
RAY = Path(sys.executable).with_name("ray")


class RayNodes:
    """A head node with three CPUs and a second node with one; a context manager."""

    def __init__(self) -> None:
        self._sessions: list[int] = []
        # Otherwise a file in the user's home decides whether Ray requires tokens.
        self._mode = patch.dict(os.environ, {"RAY_AUTH_MODE": "disabled"})
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets need a short path
        self.address = f"{HOST}:{free_port()}"

    def __enter__(self) -> RayNodes:
        self._mode.start()
        try:
            port = int(self.address.rpartition(":")[2])
            head = self._start(
                "--head",
                f"--port={port}",
                f"--temp-dir={self.folder}",
                "--num-cpus=3",
                "--include-dashboard=false",
                "--no-monitor",
                "--disable-usage-stats",
            )
            _wait_for(port)
            second = self._start(f"--address={self.address}", "--num-cpus=1")
            for starting in (head, second):
                self._started(starting)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def second(self) -> int:
        """The process id of the second node's raylet."""
        (raylet,) = (p.pid for p in self._processes() if _is_raylet(p, self._sessions[1]))
        return int(raylet)

    def kill(self, raylet: int) -> None:
        """Kill a node's raylet, similar to a power failure."""
        os.kill(raylet, signal.SIGKILL)

    def actors(self, raylet: int | None = None) -> list[int]:
        """Return the process ids of our actors, on one node or on all."""
        return [
            process.pid
            for process in self._processes()
            if "EvaluationActor" in process.name() or "EvaluationActor" in _line(process)
            if raylet is None or process.ppid() == raylet
        ]

    def stop(self) -> None:
        """Kill all processes of the cluster and remove its files."""
        deadline = time.monotonic() + 30
        while (left := self._processes()) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended with another one
                    process.kill()
            psutil.wait_procs(left, 1)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._mode.stop()

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_period_ms": "1000",  # detects a dead node sooner
            "RAY_TMPDIR": str(self.folder),
        }
        command = [
            str(RAY),
            "start",
            f"--node-ip-address={HOST}",
            f"--object-store-memory={OBJECT_STORE}",
            "--include-log-monitor=false",
            *(str(option) for option in options),
        ]
        with self._log.open("a") as output:  # not a pipe, which the node would keep open
            starting = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,  # identifies its processes, including orphans
            )
        self._sessions.append(starting.pid)
        return starting

    @property
    def _log(self) -> Path:
        return self.folder / "start.log"

    def _started(self, starting: subprocess.Popen[bytes]) -> None:
        try:
            starting.wait(START_SECONDS)
        finally:
            starting.kill()
        if starting.wait() != 0:
            raise RuntimeError(f"Ray did not start: {self._log.read_text()}")

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) in self._sessions and process.status() != "zombie":
                    found.append(process)
            except (psutil.Error, ProcessLookupError):
                continue
        return found


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _is_raylet(process: psutil.Process, session: int) -> bool:
    try:
        return process.name() == "raylet" and os.getsid(process.pid) == session
    except (psutil.Error, ProcessLookupError):
        return False


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError("Ray's head node does not listen.")
