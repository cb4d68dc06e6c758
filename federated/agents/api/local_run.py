"""One training of a lender's agent: its threads, its state and its end.

A training that this agent hosts has two threads, one that coordinates and one that lends. Both go
on from the training's folder after a restart.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from features.encoding import Layout
from federated.agents.api.data_sets import DataSets
from federated.agents.api.job import END, JOB, End, Job
from federated.agents.api.views import Role, TrainingEvent, TrainingFacts, facts_of
from federated.agents.api.watchers import Watchers
from federated.agents.coordinator_agent import CoordinatorAgent, Patience
from federated.agents.lender_agent import LenderAgent, Own
from federated.agents.limits import LenderLimits
from federated.agents.member_agent import BOOSTER, RECORD
from federated.agents.progress import MOST_EVENTS, State, TrainingView
from parties.joint.identities import IdentityKey
from parties.trainings_client import TrainingsClient
from utils.errors import StoreDamaged, TrainingUnfinished, TransportError, TrisealError
from utils.regular_files import read_regular

LENDER, COORDINATOR = "lender", "coordinator"
"""Folders of the two parts in the training's folder."""
LARGEST_FILE = 64 << 20
CLOSE_SECONDS = 10.0
_FAULT = "Something went wrong in this agent; its output has the details."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lending:
    """A lender's own part in all its trainings."""

    name: str
    layout: Layout
    key: IdentityKey
    pins: Mapping[str, bytes]
    limits: LenderLimits
    client: TrainingsClient
    data: DataSets

    def own(self, address: str) -> Own:
        """Return this lender's part with the rows at an address; raises the errors of DataSets."""
        return Own(self.layout, self.data.read(address), self.key, self.pins, self.limits)


class LocalRun:
    """A training in `folder`; all methods are thread-safe.

    `lender` and `coordinator` are given if they have just been made, and are otherwise resumed.
    """

    def __init__(
        self,
        folder: Path,
        job: Job,
        lending: Lending,
        lender: LenderAgent | None = None,
        coordinator: CoordinatorAgent | None = None,
    ) -> None:
        self.id, self.job, self.watchers = folder.name, job, Watchers()
        self._folder, self._lending = folder, lending
        self._lender, self._coordinator = lender, coordinator
        self._end = End.read(folder / END)
        self._failure, self._ran, self._stopping = "", False, False
        self._absent = ""
        """Why this agent, which coordinates, takes no part as a lender."""
        self._lock = threading.RLock()
        self._events: deque[TrainingEvent] = deque(maxlen=MOST_EVENTS)
        self._seen: dict[Role, int] = {}
        self._number = 0
        self._thread = threading.Thread(
            target=self._play, name=f"training {self.id[:8]}", daemon=True
        )

    # ---- for calls

    def begin(self) -> None:
        """Go on with the training in the background, unless it has ended."""
        if self._end is None:
            self._thread.start()

    @property
    def ended(self) -> float | None:
        """When the training ended, in seconds since 1970; None if it has not."""
        with self._lock:
            return None if self._end is None else self._end.at

    @property
    def is_over(self) -> bool:
        """True if nothing happens any more, at least until the agent is started again."""
        return self.ended is not None or bool(self._failure)

    def facts(self) -> TrainingFacts:
        """Return the training as it is now."""
        with self._lock:
            if self._end is not None:
                return self._end.facts
            return self._facts(*(("failed", self._failure) if self._failure else ()))

    def events(self, after: int = 0) -> tuple[TrainingEvent, ...]:
        """Return the events with a number above `after`, oldest first."""
        with self._lock:
            self._collect()
            found = tuple(self._events) if self._end is None else self._end.events
        return tuple(event for event in found if event.number > after)

    def codes(self) -> dict[str, str]:
        """Return the codes of the other lenders, until a training that is hosted here starts."""
        with self._lock:
            if self._coordinator is None or self._stopping or self.facts().state != "starting":
                return {}
            codes = self._coordinator.codes
        return {name: code for name, code in codes.items() if name != self._lending.name}

    def cancel(self, reason: str) -> None:
        """End the training for all if it is hosted here, and otherwise for this lender."""
        with self._lock:
            if self._end is not None:
                return
            self.job.cancelled = self.job.cancelled or reason
            self.job.write(self._folder / JOB)
            self._pass_on_cancellation()
            if self._failure:
                self._note_end("cancelled", self.job.cancelled)
        self.watchers.changed()

    @property
    def finished(self) -> float | None:
        """When the model was written, in seconds since 1970; None if there is none."""
        found = self._model_folder()
        return None if found is None else (found / RECORD).stat().st_mtime

    def booster(self) -> bytes:
        """Return the model in XGBoost's JSON; raises TrainingUnfinished."""
        return self._file(BOOSTER)

    def record(self) -> bytes:
        """Return the record of the trees and their lenders; raises TrainingUnfinished."""
        return self._file(RECORD)

    def stop(self) -> None:
        """Have the threads end soon; the training goes on when the agent is started again."""
        with self._lock:
            self._stopping = True
            for part in (self._lender, self._coordinator):
                if part is not None:
                    part.stop()

    def join(self, seconds: float = CLOSE_SECONDS) -> None:
        """Wait for the threads to end."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    # ---- the threads

    def _play(self) -> None:
        failure, lasting = self._guarded(self._coordinate if self.job.hosts else self._lend)
        with self._lock:
            self._settle(failure, lasting and self._ran)
            for part in (self._lender, self._coordinator):
                if part is not None:
                    part.close()
        self.watchers.changed()

    def _guarded(self, work: Callable[[], None]) -> tuple[str, bool]:
        """Do one part's work; returns why it failed, or nothing, and whether that is for good.

        Reasons on this machine and in the network may be gone at the next start of the agent.
        """
        try:
            work()
        except TrisealError as error:
            return error.message, not isinstance(error, TransportError | StoreDamaged)
        except OSError as error:
            found = error.filename or "a file of this training"
            return f"{error.strerror or error}: {found}.", False
        except Exception:
            if not self._stopping:  # the connection is closed with the agent
                log.exception("a training has failed")
            return _FAULT, False
        return "", False

    def _coordinate(self) -> None:
        lending, home = self._lending, self._folder / COORDINATOR
        patience = Patience(self.job.start, self.job.step)
        coordinator = self._coordinator or CoordinatorAgent.resume(
            home, lending.client, lending.key, lending.pins, patience
        )
        if coordinator is None:
            raise TrainingUnfinished("The coordinator's files are missing; start another training.")
        self._take(coordinator=coordinator)
        lends = threading.Thread(
            target=self._lend_beside, name=f"lender {self.id[:8]}", daemon=True
        )
        lends.start()
        try:
            coordinator.run(self._report)
        finally:
            with self._lock:
                lender = self._lender
            if lender is not None and coordinator.view().state != "finished":
                lender.stop()
            lends.join()

    def _lend_beside(self) -> None:
        """Lend in a training that is hosted here, which goes on if that fails."""
        failure, _ = self._guarded(self._lend)
        if failure:
            log.warning("training %s, as a lender: %s", self.id[:8], failure)
            with self._lock:
                self._absent = f"This agent takes no part as a lender: {failure}"
            self.watchers.changed()

    def _lend(self) -> None:
        lending, home = self._lending, self._folder / LENDER
        lender = self._lender
        if lender is None:
            own = lending.own(self.job.address)
            lender = LenderAgent.resume(home, lending.client, own)
            if lender is None:
                code = self._own_code()
                lender = LenderAgent.join(home, lending.client, lending.name, code, own)
        self._take(lender=lender)
        lender.run(self._report)

    def _own_code(self) -> str:
        with self._lock:
            coordinator = self._coordinator
        if coordinator is None:
            raise TrainingUnfinished(
                "This agent was stopped before it had joined; ask the coordinator for a new code."
            )
        return coordinator.codes[self._lending.name]

    def _take(
        self, lender: LenderAgent | None = None, coordinator: CoordinatorAgent | None = None
    ) -> None:
        with self._lock:
            self._lender = lender or self._lender
            self._coordinator = coordinator or self._coordinator
            self._ran = True
            if self.job.cancelled:
                self._pass_on_cancellation()
            if self._stopping:
                self.stop()

    def _pass_on_cancellation(self) -> None:
        if self.job.hosts and self._coordinator is not None:
            self._coordinator.cancel(self.job.cancelled)
        elif not self.job.hosts and self._lender is not None:
            self._lender.leave()

    def _report(self, _: TrainingView) -> None:
        with self._lock:
            self._collect()
        self.watchers.changed()

    # ---- files and state

    def _model_folder(self) -> Path | None:
        folders = (self._folder / part for part in (LENDER, COORDINATOR))
        return next((one for one in folders if (one / RECORD).exists()), None)  # it is written last

    def _file(self, name: str) -> bytes:
        folder = self._model_folder()
        found = None if folder is None else read_regular(folder / name, LARGEST_FILE)
        if found is None:
            raise TrainingUnfinished(
                "This training has no model: it is not finished, or has ended without one. Its "
                "state says why."
            )
        return found[0]

    def _view(self) -> TrainingView | None:
        part = self._coordinator if self.job.hosts else self._lender
        return None if part is None else part.view()

    def _facts(self, state: State | None = None, reason: str = "") -> TrainingFacts:
        view = self._view()
        own: dict[str, object] = {
            "run_id": self.id,
            "role": COORDINATOR if self.job.hosts else LENDER,
            "name": self._lending.name,
            "addr": self.job.address,
            "began": self.job.began,
        }
        if state is not None:
            own |= {"state": state, "reason": reason, "seconds_left": None}
        elif view is None:
            own["state"] = "starting"
        elif self._absent and not view.reason:
            own["reason"] = self._absent
        return facts_of(view, **own)

    def _collect(self) -> None:
        """Take over the new events of both parts."""
        parts: tuple[tuple[Role, LenderAgent | CoordinatorAgent | None], ...] = (
            ("coordinator", self._coordinator),
            ("lender", self._lender),
        )
        for source, part in parts:
            for event in () if part is None else part.events():
                if event.number > self._seen.get(source, 0):
                    self._seen[source] = event.number
                    self._number += 1
                    self._events.append(
                        TrainingEvent(
                            number=self._number, at=event.at, source=source, text=event.text
                        )
                    )

    def _settle(self, failure: str, lasting: bool) -> None:
        """Keep how the training ended; one that was only stopped goes on at the next start."""
        view = self._view()
        if view is not None and view.state in ("finished", "cancelled"):
            self._note_end(view.state, view.reason)
        elif view is not None and view.state == "failed" and not self.job.cancelled:
            self._note_end("failed", view.reason)
        elif not failure or self._stopping:
            return
        elif self.job.cancelled:
            self._note_end("cancelled", self.job.cancelled)
        elif lasting:
            self._note_end("failed", failure)
        else:  # for example, the data file is missing: it may be there at the next start
            self._failure = failure

    def _note_end(self, state: State, reason: str) -> None:
        self._collect()
        end = End(at=time.time(), facts=self._facts(state, reason), events=tuple(self._events))
        end.write(self._folder / END)
        self._end = end
