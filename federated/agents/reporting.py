"""Progress of a training on the terminal: a line for each tree, and for each event."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from federated.agents.progress import Event, TrainingView
from utils.atomic_files import write_atomic


class Reporter:
    """Prints what is new at each change; `events` returns the agent's last events."""

    def __init__(self, events: Callable[[], Sequence[Event]]) -> None:
        self._events = events
        self._trees: int | None = None
        self._number = 0

    def __call__(self, view: TrainingView) -> None:
        """Print what has changed since the last call."""
        if self._trees is None:
            self._trees = len(view.trees)
            if view.trees and not view.over:
                print(f"Going on after tree {self._trees} of {view.trees_planned}.", flush=True)
        for tree in view.trees[self._trees :]:
            early = ", ended early" if tree.ended_early else ""
            print(
                f"tree {tree.number + 1} of {view.trees_planned}: {len(tree.lenders)} lenders"
                f"{early}, {view.seconds:.1f} s",
                flush=True,
            )
        self._trees = len(view.trees)
        for event in self._events():
            if event.number > self._number:
                self._number = event.number
                print(event.text, flush=True)


def print_end(view: TrainingView, booster: Path, record: Path) -> int:
    """Print how a training has ended, and where its model is; returns the exit code."""
    if view.state == "finished":
        auc = "" if view.final_auc is None else f" Its validation AUC is {view.final_auc:.4f}."
        print(f"The model is {booster}, its record {record}.{auc}")
        return 0
    if view.state == "failed":
        print(f"This lender takes no further part. {view.reason}")
    elif view.state == "cancelled":
        print(f"The training is cancelled. {view.reason}")
    else:
        print("Stopped; started again with the same folder, this agent goes on.")
    return 1


def write_summary(path: Path | None, view: TrainingView, events: Sequence[Event]) -> None:
    """Write the view and the events as JSON, unless `path` is None."""
    if path is None:
        return
    document = {
        "training": view.model_dump(mode="json"),
        "events": [event.model_dump(mode="json") for event in events],
    }
    write_atomic(path, json.dumps(document, indent=1).encode())
