"""Progress of a training on the terminal: a line for each tree, and for what else happens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from federated.agents.progress import Event, TrainingView
from utils.atomic_files import write_atomic


class Reporter:
    """Prints what is new in each view."""

    def __init__(self) -> None:
        self._trees = 0
        self._state = ""
        self._statuses: dict[str, str] = {}

    def __call__(self, view: TrainingView) -> None:
        """Print what has changed since the last call."""
        for tree in view.trees[self._trees :]:
            early = ", ended early" if tree.ended_early else ""
            print(
                f"tree {tree.number + 1} of {view.trees_planned}: {len(tree.lenders)} lenders"
                f"{early}, {view.seconds:.1f} s",
                flush=True,
            )
        self._trees = len(view.trees)
        for one in view.lenders:
            old = self._statuses.get(one.name, one.status)
            if one.status != old and one.status in ("away", "refused"):
                print(f"{one.name} is {one.status}. {one.reason}", flush=True)
            if old == "away" and one.status == "working":
                print(f"{one.name} is back.", flush=True)
            self._statuses[one.name] = one.status
        if view.state != self._state:
            auc = "" if view.auc is None else f", validation AUC {view.auc:.4f}"
            print(f"The training is {view.state}{auc}. {view.reason}".strip(), flush=True)
            self._state = view.state


def write_summary(path: Path | None, view: TrainingView, events: Sequence[Event]) -> None:
    """Write the view and the events as JSON, unless `path` is None."""
    if path is None:
        return
    document = {
        "training": view.model_dump(mode="json"),
        "events": [event.model_dump(mode="json") for event in events],
    }
    write_atomic(path, json.dumps(document, indent=1).encode())
