"""Processor time of running processes at times in between, sampled by a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np

from training.measure.machine import cpu_seconds

_SECONDS = 0.1


class CpuSamples:
    """Samples of processes by name and id, from entering the context to its end.

    A process may end in the meantime: its last sample counts from then on.
    """

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._times: list[float] = []
        self._used: dict[str, list[float]] = {name: [] for name in processes}
        self._stop, self._sampled = threading.Event(), threading.Condition()
        self._count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_next(self) -> None:
        """Wait until a sample that begins from now on is complete."""
        with self._sampled:
            wanted = self._count + 2  # one may be half done
            self._sampled.wait_for(lambda: self._count >= wanted)

    def between(self, name: str, start: float, end: float) -> float:
        """Return the seconds that a process has used between two times, in seconds since 1970."""
        used = np.interp([start, end], self._times, self._used[name])
        return float(used[1] - used[0])

    def _run(self) -> None:
        while True:
            self._times.append(time.time())
            for name, process in self._processes.items():
                own = self._used[name]
                own.append(max([cpu_seconds(process), *own[-1:]]))
            with self._sampled:
                self._count += 1
                self._sampled.notify_all()
            if self._stop.wait(_SECONDS):
                return
