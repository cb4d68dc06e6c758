"""The demonstration's training: a lender is killed in the middle of it and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from contract.trainings import COORDINATOR
from federated.agents.progress import LenderView
from federated.aggregation.group import LEAST_LENDERS
from training.federated import FinishedRun, read_run
from training.federated_processes import FederatedProcesses
from training.measure.running_server import running_server

STEP_SECONDS = 4
"""Seconds after which the coordinator goes on without a lender."""
_ABSENT_TREES = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A finished training; `seconds` are from the start message to the end."""

    run: FinishedRun
    lenders: tuple[LenderView, ...]
    seconds: float
    folder: Path


def train(
    folder: Path,
    deployment: Path,
    schema: Path,
    files: Mapping[str, Path],
    trees: int,
    absent: str,
    say: Say,
) -> Trained:
    """Train in processes, through a server that runs `deployment`.

    The process of the lender `absent` is killed after a third of the trees, and starts again after
    some further ones; with three lenders the training pauses in the meantime. Raises
    TrainingUnfinished and ServerUnreachable.
    """
    home = folder / "training"
    home.mkdir()
    options = ("--trees", str(trees), "--step-seconds", str(STEP_SECONDS))
    with (
        running_server(deployment, "clear") as server,
        FederatedProcesses(home, server.url, schema, files, options) as processes,
    ):
        processes.start()
        say(f"A coordinator and {len(files)} lenders have started, each in its own process.")
        processes.wait_for_tree(max(1, trees // 3))
        processes.kill(absent)
        say(f"Tree {processes.trees()} of {trees}: the process of {absent} is killed.")
        processes.wait_until_reported(f"{absent} is away")
        if len(files) > LEAST_LENDERS:
            processes.wait_for_tree(min(trees - 1, processes.trees() + _ABSENT_TREES))
        say(f"Tree {processes.trees()} of {trees}: {absent} starts again from its folder.")
        processes.return_again(absent)
        started = time.monotonic()
        processes.finish()
        summary = processes.summary(COORDINATOR)
        ended, began = (
            summary.time_of("The training is finished"),
            summary.time_of("The training starts"),
        )
        say(f"The model is finished; {time.monotonic() - started:.0f} s since {absent} returned.")
        return Trained(
            read_run(processes.home(COORDINATOR)),
            summary.training.lenders,
            ended - began,
            processes.home(COORDINATOR),
        )
