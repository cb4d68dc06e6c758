"""The points at which an agent's process kills itself, and the events that it writes down.

`installed` wraps the methods of this process's agent. A point is armed by a file that the trial
writes at any time; the process that reaches it first removes the file, and dies by SIGKILL.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from federated.agents import member_agent
from federated.agents.state_file import StateFile
from federated.aggregation.coordinator_side import Opening
from federated.aggregation.lender_side import LenderMasks
from federated.aggregation.statement import Step
from federated.protocol.coordinator import Coordinator
from federated.protocol.lender import Lender, LenderProgress
from parties.trainings_client import TrainingsClient
from trials.federated.journal import Journal

RETURN_POINTS = ("back made", "back saved", "back sent")
LENDER_POINTS = (
    *("upload made", "upload saved", "upload sent"),
    *("reveal made", "reveal saved", "reveal sent"),
    "model unwritten",
)
COORDINATOR_POINTS = (
    *("ask made", "ask saved", "ask sent"),
    *("all_uploaded made", "all_uploaded saved", "all_uploaded sent"),
    *("finished made", "finished saved", "finished sent"),
    "model unwritten",
)
"""The moments at which an agent dies: after one thing, and before the next."""


class Points:
    """The points of one process; `armed` is the file that names the next one to die at."""

    def __init__(self, armed: Path) -> None:
        self._armed = armed
        self._doing: set[str] = set()

    def make(self, what: str) -> None:
        """Note that a message of this kind was made."""
        self._doing.add(what)
        self.reach(f"{what} made")

    def saved(self) -> None:
        """Note that all messages made so far were saved."""
        self._each("saved")

    def sent(self) -> None:
        """Note that all messages made so far were sent."""
        self._each("sent")
        self._doing.clear()

    def reach(self, point: str) -> None:
        """Die if this point is armed."""
        try:
            if self._armed.read_text() != point:
                return
            self._armed.unlink()
        except FileNotFoundError:  # the trial may remove the file at any time
            return
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # never reached

    def _each(self, how: str) -> None:
        for what in sorted(self._doing):
            self.reach(f"{what} {how}")


def installed(points: Points, journal: Journal) -> None:
    """Wrap the agent's methods in this process."""
    _wrap_files(points, journal)
    _wrap_lender(points, journal)
    _wrap_coordinator(points, journal)


def _wrap_files(points: Points, journal: Journal) -> None:
    save, exchange = StateFile.save, TrainingsClient.exchange

    def saved(
        self: StateFile, parts: Mapping[str, bytes], first: int = 0, results: Sequence[bytes] = ()
    ) -> None:
        journal.add("saving")
        save(self, parts, first, results)
        if "progress" in parts:
            sent = LenderProgress.model_validate_json(parts["progress"]).locks.sent
            if sent is not None:
                journal.add("saved", sent.step, sent.roster, locked=sent.locked)
        points.saved()

    def exchanged(self: TrainingsClient, *given: Any, **named: Any) -> Any:
        journal.add("post")
        found = exchange(self, *given, **named)
        points.sent()
        return found

    StateFile.save = saved  # type: ignore[method-assign]
    TrainingsClient.exchange = exchanged  # type: ignore[method-assign]
    _wrap_model(member_agent, points)


def _wrap_model(module: Any, points: Points) -> None:
    write = module.write_atomic

    def written(*given: Any, **named: Any) -> None:
        points.reach("model unwritten")
        write(*given, **named)

    module.write_atomic = written


def _wrap_lender(points: Points, journal: Journal) -> None:
    upload, reveal, share = LenderMasks.upload, LenderMasks.reveal, LenderMasks.reveal_share
    take, back = Lender.take, Lender.back

    def uploaded(
        self: LenderMasks, step: Step, roster: tuple[str, ...], transcript: bytes, vector: Any
    ) -> Any:
        found = upload(self, step, roster, transcript, vector)
        journal.add("upload", step, roster, found.statement.hex(), _sha256(vector.tobytes()))
        return found

    def revealed(self: LenderMasks, step: Step, signatures: Mapping[str, bytes]) -> bytes:
        found = reveal(self, step, signatures)
        journal.add("reveal", step, tuple(signatures), _statement(self))
        return found

    def shared(self: LenderMasks, step: Step, of: str, sealed: bytes) -> bytes:
        found = share(self, step, of, sealed)
        journal.add("share", step, (), _statement(self), of=of)
        return found

    def taken(self: Lender, message: Any) -> Any:
        found = take(self, message)
        for one in found:
            points.make({"uploaded": "upload", "revealed": "reveal"}.get(one.kind, one.kind))
        return found

    def returned(self: Lender) -> Any:
        points.make("back")
        return back(self)

    LenderMasks.upload = uploaded  # type: ignore[method-assign]
    LenderMasks.reveal = revealed  # type: ignore[method-assign]
    LenderMasks.reveal_share = shared  # type: ignore[method-assign]
    Lender.take, Lender.back = taken, returned  # type: ignore[method-assign]


def _wrap_coordinator(points: Points, journal: Journal) -> None:
    total, take = Opening.sum, Coordinator.take

    def opened(self: Opening) -> Any:
        found = total(self)
        journal.add(
            "opened",
            self.step,
            self.roster,
            self._stated.digest.hex(),
            _sha256(found.tobytes()),
        )
        return found

    def taken(self: Coordinator, lender: str, message: Any) -> Any:
        outs = take(self, lender, message)
        for out in outs:
            points.make(out.message.kind)
        return outs

    Opening.sum = opened  # type: ignore[method-assign]
    Coordinator.take = taken  # type: ignore[method-assign]


def _statement(masks: LenderMasks) -> str:
    sent = masks.state.sent
    return "" if sent is None else masks._stated(sent).digest.hex()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
