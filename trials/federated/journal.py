"""A file to which an agent's process appends a line for each event, before the event has effects.

The lines outlive a SIGKILL: each is one write to a file opened for appending.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from federated.aggregation.statement import Step

Kind = Literal["started", "upload", "reveal", "share", "saving", "saved", "post", "opened"]
"""A process has started; in a lender: an upload, a seed or a share was made, its state is about to
be saved, it was saved, messages are about to be posted; in a coordinator: a sum was opened."""


@dataclass(frozen=True)
class Event:
    """One event. `digest` is that of the vector or sum; `of` the lender whose share it is."""

    kind: Kind
    step: Step | None = None
    roster: tuple[str, ...] = ()
    statement: str = ""
    digest: str = ""
    of: str = ""
    locked: bool = False


class Journal:
    """The events of one agent, over all its processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def add(
        self,
        kind: Kind,
        step: Step | None = None,
        roster: Sequence[str] = (),
        statement: str = "",
        digest: str = "",
        of: str = "",
        locked: bool = False,
    ) -> None:
        """Append an event."""
        if self._file < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        place = None if step is None else (step.tree, step.level, step.attempt)
        line = json.dumps([kind, place, list(roster), statement, digest, of, locked])
        os.write(self._file, line.encode() + b"\n")

    def events(self) -> list[Event]:
        """Return all events, in order; none if the agent has not begun."""
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_text().splitlines():
            kind, place, roster, *rest = json.loads(line)
            step = None if place is None else Step(*place)
            found.append(Event(kind, step, tuple(roster), *rest))
        return found

    def count(self, kind: Kind) -> int:
        """Return the number of events of this kind."""
        if not self._path.exists():
            return 0
        return self._path.read_bytes().count(f'["{kind}"'.encode())
