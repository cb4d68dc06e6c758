"""A training by several lenders as processes of this machine, which can be killed and come back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from contract.trainings import COORDINATOR
from federated.agents.code_files import CODES
from federated.agents.progress import Event, TrainingView
from utils.child_process import ChildProcess
from utils.errors import ServerUnreachable, TrainingUnfinished

LONGEST_SECONDS = 1800.0
"""Longest wait for a tree, a lender or the end."""
_POLL_SECONDS = 0.05
_TREE = re.compile(r"^tree (\d+) of \d+:", re.MULTILINE)
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""There are more processes than cores, and the threads of OpenMP wait for each other actively."""


class Summary(NamedTuple):
    """The last state of an agent, and its events."""

    training: TrainingView
    events: tuple[Event, ...]

    def time_of(self, words: str) -> float:
        """Return the time of the first event that begins with `words`; raises TrainingUnfinished.

        Times are in seconds since 1970.
        """
        for event in self.events:
            if event.text.startswith(words):
                return event.at
        raise TrainingUnfinished(f"{self.training.name} has no event {words!r}.")


class FederatedProcesses:
    """A coordinator and its lenders by name, each with its rows in a CSV file.

    A context manager that stops all of them. `options` are those of the coordinator's command.
    Methods raise TrainingUnfinished, with the end of its log, if a process ends too early.
    """

    def __init__(
        self,
        folder: Path,
        server: str,
        schema: Path,
        data: Mapping[str, Path],
        options: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._seen = (0, 0)
        common = ("--server", server, "--schema", str(schema))
        own = ("--lenders", ",".join(data), *options)
        self.processes = {COORDINATOR: self._process(COORDINATOR, (*common, *own))}
        for name, file in data.items():
            code = self.home(COORDINATOR) / CODES / name
            words = ("--name", name, "--data", str(file), "--code-file", str(code))
            self.processes[name] = self._process(name, (*common, *words))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes.values():
            process.kill()

    def home(self, name: str) -> Path:
        """Return the folder of an agent."""
        return self._folder / name

    def start(self) -> None:
        """Start the coordinator, and the lenders once their codes are there."""
        coordinator, *lenders = self.processes
        self.processes[coordinator].start()
        codes = [self.home(coordinator) / CODES / name for name in lenders]
        self._until(coordinator, lambda: all(code.exists() for code in codes))
        for name in lenders:
            self.processes[name].start()

    def kill(self, lender: str) -> None:
        """Kill a lender's process, which leaves its folder as it is."""
        self.processes[lender].kill()

    def return_again(self, lender: str) -> None:
        """Start a lender again that was killed."""
        self.processes[lender].start()

    def trees(self) -> int:
        """Return the number of trees that the coordinator has reported."""
        log = self.processes[COORDINATOR].log_path
        if not log.is_file():
            return 0
        start, number = self._seen
        with log.open("rb") as file:
            file.seek(start)
            whole, _, _ = file.read().rpartition(b"\n")
        found = _TREE.findall(whole.decode(errors="replace"))
        self._seen = (start + len(whole), int(found[-1]) if found else number)
        return self._seen[1]

    def wait_for_tree(self, number: int) -> None:
        """Wait until `number` trees are reported."""
        self._until(COORDINATOR, lambda: self.trees() >= number)

    def wait_until_reported(self, line: str) -> None:
        """Wait until the coordinator's log has a line that begins with these words."""
        log = self.processes[COORDINATOR].log
        self._until(COORDINATOR, lambda: any(own.startswith(line) for own in log().splitlines()))

    def finish(self) -> None:
        """Wait until all processes have ended by themselves, and well."""
        left = dict(self.processes)
        end = time.monotonic() + LONGEST_SECONDS
        while left:
            for name, process in list(left.items()):
                if not process.alive and process.join() == 0:
                    del left[name]
                elif not process.alive or time.monotonic() > end:
                    raise self._ended(name)
            time.sleep(_POLL_SECONDS)

    def summary(self, name: str) -> Summary:
        """Return the last state of an agent that has ended."""
        try:
            found = json.loads((self._folder / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            raise self._ended(name) from None
        view = TrainingView.model_validate(found["training"])
        return Summary(view, tuple(Event.model_validate(event) for event in found["events"]))

    def _process(self, name: str, words: Sequence[str]) -> ChildProcess:
        kind = "coordinator" if name == COORDINATOR else "lender"
        own = ("--home", str(self.home(name)), "--summary", str(self._folder / f"{name}.json"))
        command = ["-W", "ignore::DeprecationWarning", "-m", "federated", kind, *own, *words]
        return ChildProcess(command, self._folder / f"{name}.log", {}, _THREADS)

    def _until(self, name: str, ready: Any) -> None:
        try:
            self.processes[name].wait_until(ready, LONGEST_SECONDS)
        except ServerUnreachable:
            raise self._ended(name) from None

    def _ended(self, name: str) -> TrainingUnfinished:
        lines = self.processes[name].log().strip().splitlines()[-3:]
        return TrainingUnfinished(
            f"The process of {name} has ended before the training, or takes too long: "
            f"{' '.join(lines) or 'it has printed nothing'}"
        )
