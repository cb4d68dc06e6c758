"""Memory and processor time of the servers' processes during a load."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from trials.processes import cpu_seconds, cpu_seconds_of, descendants, resident_bytes
from trials.servers import Server

SAMPLE_SECONDS = 0.5
ACTORS = "actors"


@dataclass(frozen=True)
class Sample:
    """Resident bytes of one server's own process, and of all its workers together."""

    server: int
    workers: int


class Sampler:
    """Samples all servers and the processor every SAMPLE_SECONDS; a context manager.

    `actors` returns the ids of evaluating processes that are not children of a server.
    """

    def __init__(self, servers: Sequence[Server], actors: Callable[[], list[int]] = list) -> None:
        self._servers = servers
        self._actors = actors
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._begun = self._spent()
        self.samples: dict[str, list[Sample]] = {server.name: [] for server in servers}
        self.busy: list[float] = []
        """Share of all cores in use between samples."""

    def __enter__(self) -> Sampler:
        psutil.cpu_percent()
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def cpu(self) -> dict[str, dict[str, float]]:
        """Return the processor seconds of servers and their workers since the start."""
        return {
            name: {
                role: now - self._begun.get(name, {}).get(role, 0.0) for role, now in own.items()
            }
            for name, own in self._spent().items()
        }

    def _spent(self) -> dict[str, dict[str, float]]:
        spent = {server.name: _cpu(server) for server in self._servers}
        actors = sum(cpu_seconds_of(pid) for pid in self._actors())
        return {**spent, ACTORS: {"server": 0.0, "workers": actors}} if actors else spent

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._look()
            self.busy.append(psutil.cpu_percent() / 100)

    def _look(self) -> None:
        for server in self._servers:
            self.samples[server.name].append(
                Sample(
                    resident_bytes(server.process),
                    sum(resident_bytes(child) for child in descendants(server.process.pid)),
                )
            )


def evaluations(servers: Sequence[Server]) -> dict[str, tuple[int, float]]:
    """Return the number of finished evaluations of all servers and their seconds, by program."""
    found: dict[str, tuple[int, float]] = {}
    for server in servers:
        text = httpx.get(f"{server.url}/metrics", timeout=30, trust_env=False).text
        for family in text_string_to_metric_families(text):
            if family.name != "triseal_evaluation_seconds":
                continue
            for sample in family.samples:
                if not sample.name.endswith(("_count", "_sum")):
                    continue
                program = sample.labels["program"]
                count, seconds = found.get(program, (0, 0.0))
                if sample.name.endswith("_count"):
                    found[program] = (count + int(sample.value), seconds)
                else:
                    found[program] = (count, seconds + sample.value)
    return found


def _cpu(server: Server) -> dict[str, float]:
    return {
        "server": cpu_seconds(server.process),
        "workers": sum(cpu_seconds(child) for child in server.children()),
    }
