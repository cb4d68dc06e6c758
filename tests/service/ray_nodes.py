"""A Ray cluster of several nodes on this machine, started as an operator starts it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.service.driver import free_port

HOST = "127.0.0.1"
START_SECONDS = 90.0
OBJECT_STORE = 200_000_000
RAY = Path(sys.executable).with_name("ray")
DEATH_NOTICED = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
"""That a node has died is known after seconds, not after half a minute."""


class RayNodes:
    """A head and further nodes with one CPU each."""

    def __init__(self) -> None:
        self._sessions: set[int] = set()
        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        self.address = f"{HOST}:{free_port()}"
        self._start(
            "--head",
            f"--port={self.address.rpartition(':')[2]}",
            f"--temp-dir={self.folder}",
            "--include-dashboard=false",
            "--no-monitor",
            "--disable-usage-stats",
        )

    def add(self) -> int:
        """One more node; answers the process id of its raylet, which is the node."""
        before = self._raylets()
        self._start(f"--address={self.address}")
        (new,) = self._raylets() - before
        return new

    def kill(self, raylet: int) -> None:
        """End a node as a power cut does, as far as one process can."""
        os.kill(raylet, signal.SIGKILL)

    def actors(self, raylet: int | None = None) -> list[int]:
        """The processes of our actors, on one node or on all."""
        return [
            process.pid
            for process in self._processes()
            if "EvaluationActor" in process.name() or "EvaluationActor" in _line(process)
            if raylet is None or process.ppid() == raylet
        ]

    def stop(self) -> None:
        """End all processes of the cluster, and remove its files."""
        deadline = time.monotonic() + 30
        while (left := self._processes()) and time.monotonic() < deadline:
            for process in left:
                process.kill()
            psutil.wait_procs(left, 1)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *options: str) -> None:
        environment = {
            **os.environ,
            **DEATH_NOTICED,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": str(self.folder),
        }
        command = [
            RAY,
            "start",
            f"--node-ip-address={HOST}",
            "--num-cpus=1",
            f"--object-store-memory={OBJECT_STORE}",
            "--include-log-monitor=false",
            *options,
        ]
        log = self.folder / "start.log"
        with log.open("a") as output:  # not a pipe, which the node would keep open
            started = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,  # by which its processes are known, orphans too
            )
        self._sessions.add(started.pid)
        try:
            started.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        if started.returncode != 0:
            said = log.read_text()
            self.stop()
            raise RuntimeError(f"Ray does not start: {said}")

    def _raylets(self) -> set[int]:
        return {p.pid for p in self._processes() if p.name() == "raylet"}

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
