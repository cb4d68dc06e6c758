"""How far a training is, for people and programs: what agents of both kinds can tell."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from federated.protocol.messages import Result
from federated.protocol.record import TreeRecords

State = Literal["starting", "running", "paused", "finished", "cancelled", "failed"]
MOST_EVENTS = 1000
_WORDS = {
    "joined": "has joined",
    "working": "is working",
    "done": "is done",
    "away": "is away",
    "refused": "is excluded",
    "not part": "takes no part",
}


class _View(BaseModel):
    model_config = ConfigDict(frozen=True)


class LenderView(_View):
    """One lender: its state, the trees grown on its rows, and the bytes that it has sent.

    `since` is the time of the last change of `status` in seconds since 1970, if that is known.
    """

    name: str
    status: str
    reason: str = ""
    since: float | None = None
    trees: int = 0
    drop_outs: int = 0
    bytes: int = 0


class TreeView(_View):
    """One tree: its lenders, the levels opened, and whether it ended early since one was lost.

    `auc` is the validation AUC of the trees up to this one, once it is known.
    """

    number: int
    lenders: tuple[str, ...]
    levels: int
    ended_early: bool = False
    auc: float | None = None


class Event(_View):
    """Something that happened, at a time in seconds since 1970; `number` rises."""

    number: int = 0
    at: float
    text: str


class TrainingView(_View):
    """A training; `bytes` are those that this member has sent and received.

    `seconds` are those since the lenders have joined. `kept` is the number of trees in the model,
    once the training is finished. `problem` is what keeps this member from going on at present,
    such as a server that cannot be reached.
    """

    training_id: str
    name: str
    state: State
    reason: str = ""
    tree: int = 0
    level: int = 0
    trees_planned: int
    trees: tuple[TreeView, ...] = ()
    auc: float | None = None
    lenders: tuple[LenderView, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    kept: int | None = None
    problem: str = ""

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the trees so far; None before the first one or after the end."""
        done = len(self.trees)
        if not done or self.state != "running":
            return None
        return self.seconds / done * (self.trees_planned - done)

    @property
    def over(self) -> bool:
        """True if nothing changes any more."""
        return self.state in ("finished", "cancelled", "failed")

    @property
    def final_auc(self) -> float | None:
        """The validation AUC of the model so far, or of the trees that are kept."""
        if self.kept is not None and 0 < self.kept <= len(self.trees):
            return self.trees[self.kept - 1].auc
        return self.auc


class TreeViews:
    """The views of the trees of one training, whose results are only ever added to."""

    def __init__(self) -> None:
        self._records = TreeRecords()
        self._count = 0
        self._views: tuple[TreeView, ...] = ()

    def of(self, results: Sequence[Result]) -> tuple[TreeView, ...]:
        """Return one view a tree, in order; made again only if there are new results."""
        if len(results) != self._count:
            self._count = len(results)
            self._views = tuple(
                TreeView(
                    number=number,
                    lenders=tree.lenders,
                    levels=tree.levels,
                    ended_early=tree.ended_early,
                    auc=tree.auc,
                )
                for number, tree in enumerate(self._records.of(results))
            )
        return self._views


def dated(before: TrainingView, now: TrainingView, at: float) -> TrainingView:
    """Return `now` with the times since when the lenders have their states; `at` is the present."""
    known = {one.name: one for one in before.lenders}

    def since(one: LenderView) -> float | None:
        old = known.get(one.name)
        return at if old is None or old.status != one.status else old.since

    lenders = tuple(one.model_copy(update={"since": since(one)}) for one in now.lenders)
    return now.model_copy(update={"lenders": lenders})


def changes_between(before: TrainingView, now: TrainingView) -> list[str]:
    """Return a sentence for each change of the training's state, of a lender's, or of a problem."""
    known = {one.name: one.status for one in before.lenders}
    found = [
        _status_changed(one, known.get(one.name))
        for one in now.lenders
        if one.status not in ("expected", known.get(one.name))
    ]
    if (before.state, before.reason) != (now.state, now.reason):
        found.append(_state_changed(now))
    if now.problem and now.problem != before.problem:
        found.append(f"Trying again: {now.problem}")
    if before.problem and not now.problem:
        found.append("The problem has passed.")
    return found


def _status_changed(one: LenderView, before: str | None) -> str:
    if before == "away" and one.status == "working":
        return f"{one.name} is back."
    return f"{one.name} {_WORDS.get(one.status, one.status)}{_because(one.reason)}"


def _state_changed(now: TrainingView) -> str:
    if now.state == "failed":
        return f"This lender takes no further part{_because(now.reason)}"
    return f"The training is {now.state}{_because(now.reason)}"


def _because(reason: str) -> str:
    return f": {reason}" if reason else "."


class Events:
    """The last events of an agent, oldest first."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._number = 0

    def add(self, text: str) -> None:
        """Add an event of now."""
        self._number += 1
        self._events.append(Event(number=self._number, at=time.time(), text=text))

    def all(self) -> tuple[Event, ...]:
        """Return all events."""
        return tuple(self._events)
