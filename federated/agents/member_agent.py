"""The common part of a coordinator's and a lender's agent: its files, its view, its events."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from federated.agents.membership import Membership
from federated.agents.posting import Arrived, Posting
from federated.agents.progress import (
    Event,
    Events,
    TrainingView,
    TreeViews,
    changes_between,
    dated,
)
from federated.agents.rounds import Round, Rounds
from federated.agents.state_file import StateFile, restored
from federated.agents.transport import Transport
from federated.agents.waiting import Changes
from federated.boosting.booster_json import booster_json
from federated.boosting.trees import Tree
from federated.plan import Plan
from federated.protocol.messages import Result
from federated.protocol.record import record_of
from parties.retrying import may_pass
from utils.atomic_files import write_atomic
from utils.errors import TrisealError

RETRY_SECONDS = 1.0
BOOSTER, RECORD = "booster.json", "record.json"
"""Files of the finished model, in the agent's folder."""

MEMBER = "member"
"""The part of a state file that a training always has."""

A = TypeVar("A")
Report = Callable[[TrainingView], None]
_RESULT: TypeAdapter[Result] = TypeAdapter(Result)


def resumed(path: Path, make: Callable[[StateFile], A]) -> A | None:
    """Return the agent that `make` gives of the training in a state file; None if there is none."""
    if not path.exists():
        return None
    file = StateFile.open(path)
    try:
        if file.part(MEMBER) is not None:
            return make(file)
    except BaseException:
        file.close()
        raise
    file.close()
    return None


class MemberAgent(ABC):
    """A member of one training. All methods but `run` of its subclasses are thread-safe."""

    _view: TrainingView
    _finished: tuple[Tree, ...]
    _rounds: Rounds

    def __init__(
        self, home: Path, client: Transport, membership: Membership, file: StateFile
    ) -> None:
        self._home, self._file, self._membership = home, file, membership
        self._posting = Posting(client, membership)
        self._events, self._changes, self._trees = Events(), Changes(), TreeViews()
        self._stopping = threading.Event()
        self._problem = ""
        self._saved_results = 0

    # ---- what others see

    @property
    def training_id(self) -> str:
        return self._membership.state.training_id

    def view(self) -> TrainingView:
        """Return the training as this member knows it now."""
        return self._view

    def events(self) -> tuple[Event, ...]:
        """Return the last events, oldest first."""
        return self._events.all()

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The finished trees; after the end, those that are kept."""
        return self._finished

    def rounds(self) -> tuple[Round, ...]:
        """Return the bytes of each round since this process began."""
        return self._rounds.all()

    @property
    def serial(self) -> int:
        """A number that rises with every change of the view."""
        return self._changes.serial

    def wait(self, serial: int, seconds: float) -> int:
        """Wait up to `seconds` for a serial other than `serial`; returns the present one."""
        return self._changes.wait(serial, seconds)

    def stop(self) -> None:
        """Have `run` return at the end of its present call; the training can be resumed."""
        self._stopping.set()

    def close(self) -> None:
        """Close the files, once `run` has returned."""
        self._file.close()

    # ---- for subclasses

    @abstractmethod
    def _seen(self) -> TrainingView:
        """Return the training as it is now."""

    @abstractmethod
    def _grown(self) -> tuple[Tree, ...]:
        """Return the finished trees; after the end, those that are kept."""

    def _first_view(self) -> None:
        """Make the view, once the subclass is complete."""
        self._view, self._finished = self._seen(), self._grown()
        self._rounds = Rounds(self._view.trees)

    def _tell(self, report: Report | None) -> None:
        """Make the view again, and tell of what has changed."""
        before = self._view
        view = dated(before, self._seen(), time.time())
        self._finished = self._grown()
        self._rounds.note(view.trees, view.bytes)
        self._view = view
        for text in changes_between(before, view):
            self._events.add(text)
        self._changes.announce()
        if report is not None:
            report(view)

    def _exchange(self, wait: float, report: Report | None, least: int = 1) -> list[Arrived] | None:
        """Post and receive messages; returns None, after a pause, if the server is away.

        Raises the errors that the server reports, except those that pass by themselves.
        """
        try:
            found = self._posting.exchange(wait, least)
        except TrisealError as error:
            if not may_pass(error):
                raise
            self._problem = error.message
            self._tell(report)
            self._stopping.wait(RETRY_SECONDS)
            return None
        self._problem = ""
        return found

    def _stored_results(self) -> list[Result]:
        """Return the results in the file, for a state machine that is made again."""
        found = [restored(_RESULT, body) for body in self._file.results()]
        self._saved_results = len(found)
        return found

    def _save_parts(self, parts: Mapping[str, bytes], results: Sequence[Result]) -> None:
        """Save parts, and those of all `results` that are not in the file yet."""
        new = [one.model_dump_json().encode() for one in results[self._saved_results :]]
        self._file.save(parts, self._saved_results, new)
        self._saved_results += len(new)

    def _write_model(self, plan: Plan, trees: Sequence[Tree], results: Sequence[Result]) -> None:
        """Write the finished model and, last, its record, unless they are there."""
        if (self._home / RECORD).exists():
            return
        record = record_of(plan, self.training_id, results)
        write_atomic(self._home / BOOSTER, booster_json(plan, trees))
        write_atomic(self._home / RECORD, record.model_dump_json(indent=2).encode())
