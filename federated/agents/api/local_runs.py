"""All trainings of a lender's agent, each in a folder of its own.

A lender that starts a training coordinates it as well. A coordinator sees the sums of all lenders,
from which it can subtract its own, so that a sum of three would be one of only two others. Whoever
coordinates and lends is known to the others by its identity key; their agents then take part only
in sums of at least four lenders (Membership.least_lenders). A training that is started here
therefore has at least four lenders, and pauses while fewer than four are there.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from federated.agents.api.job import JOB, Job
from federated.agents.api.local_run import COORDINATOR, LENDER, Lending, LocalRun
from federated.agents.coordinator_agent import CoordinatorAgent, Patience
from federated.agents.lender_agent import LenderAgent
from federated.aggregation.group import LEAST_LENDERS
from federated.plan import Plan
from parties.joint.codes import JoinCode
from utils.atomic_files import private_folder
from utils.errors import AlreadySent, InvalidRequest, QuotaExceeded, TrisealError, UnknownTraining
from utils.tokens import new_id

LEAST_OF_LENDING_COORDINATOR = LEAST_LENDERS + 1
MOST_UNDER_WAY = 8
"""Trainings that one agent takes part in at a time; each has one or two threads."""
MOST_RUNS = 1000
_NEW = "new-"

log = logging.getLogger(__name__)


class LocalRuns:
    """The trainings in the folder `home`; all methods are thread-safe."""

    def __init__(self, home: Path, lending: Lending) -> None:
        self._home, self._lending = private_folder(home), lending
        self._runs: dict[str, LocalRun] = {}
        self._lock = threading.Lock()

    def resume(self) -> None:
        """Go on with all trainings of the folder that have not ended."""
        for folder in sorted(self._home.iterdir()):
            if folder.name.startswith(_NEW):  # never told to anyone
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                job = Job.read(folder / JOB) if folder.is_dir() else None
                if job is not None:
                    self._keep(LocalRun(folder, job, self._lending))
            except TrisealError as error:
                log.warning("a training is left out: %s", error.message)

    def join(self, address: str, code: str) -> LocalRun:
        """Join a training with the code from its coordinator.

        Raises InvalidRequest, TrainingDataInvalid, AlreadySent if this agent takes part already,
        QuotaExceeded, and the server's errors.
        """
        training_id = JoinCode.parse(code).client_id
        with self._lock:
            self._require_room()
            if training_id in self._runs:
                raise AlreadySent(
                    "This agent takes part in that training already; its id is the first part of "
                    "the code."
                )
            lending = self._lending
            own = lending.own(address)
            folder = private_folder(self._home / training_id)
            try:
                lender = LenderAgent.join(folder / LENDER, lending.client, lending.name, code, own)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            job = Job(address=address, hosts=False, began=time.time())
            job.write(folder / JOB)
            return self._keep(LocalRun(folder, job, lending, lender=lender))

    def start(
        self,
        address: str,
        plan: Plan,
        lenders: Sequence[str],
        patience: Patience,
        hours: float = 24.0,
    ) -> LocalRun:
        """Host a training of this lender and others, and join it.

        Raises InvalidRequest if there are fewer than four lenders, PlanRefused if the plan is
        outside this lender's own limits, and the errors of `join`.
        """
        lending = self._lending
        own = () if lending.name in lenders else (lending.name,)
        names = sorted((*lenders, *own))
        if len(names) < LEAST_OF_LENDING_COORDINATOR:
            raise InvalidRequest(
                f"lenders: a training that a lender coordinates has at least "
                f"{LEAST_OF_LENDING_COORDINATOR} lenders, since the coordinator can subtract its "
                "own part from every sum. With three lenders, have someone else run `python -m "
                "federated coordinator`."
            )
        lending.limits.require(plan, lending.layout.schema)
        with self._lock:
            self._require_room()
            lending.own(address)  # refused before any other lender has a code
            scratch = private_folder(self._home / f"{_NEW}{new_id()}")
            try:
                hosted = CoordinatorAgent.host(
                    scratch / COORDINATOR,
                    lending.client,
                    lending.key,
                    plan,
                    names,
                    lending.pins,
                    patience,
                    hours,
                )
                folder = self._home / hosted.training_id
                hosted.close()
                job = Job(
                    address=address,
                    hosts=True,
                    began=time.time(),
                    start=patience.start,
                    step=patience.step,
                )
                job.write(scratch / JOB)
                scratch.rename(folder)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
            coordinator = CoordinatorAgent.resume(
                folder / COORDINATOR, lending.client, lending.key, lending.pins, patience
            )
            return self._keep(LocalRun(folder, job, lending, coordinator=coordinator))

    def all(self) -> tuple[LocalRun, ...]:
        """Return all trainings, the oldest first."""
        with self._lock:
            return tuple(sorted(self._runs.values(), key=lambda run: run.job.began))

    def get(self, run_id: str) -> LocalRun:
        """Return a training; raises UnknownTraining."""
        with self._lock:
            found = self._runs.get(run_id)
        if found is None:
            raise UnknownTraining("This agent takes part in no training of this id; list them.")
        return found

    def uses(self, address: str) -> bool:
        """Return True if a training that has not ended uses the data at this address."""
        return any(run.ended is None and run.job.address == address for run in self.all())

    def close(self) -> None:
        """Stop all trainings, which go on when the agent is started again."""
        runs = self.all()
        for run in runs:
            run.stop()
        for run in runs:
            run.join()

    def _keep(self, run: LocalRun) -> LocalRun:
        self._runs[run.id] = run
        run.begin()
        return run

    def _require_room(self) -> None:
        if sum(not run.is_over for run in self._runs.values()) >= MOST_UNDER_WAY:
            raise QuotaExceeded(
                f"The agent takes part in {MOST_UNDER_WAY} trainings at a time; cancel one, or "
                "wait for one to end."
            )
        if len(self._runs) >= MOST_RUNS:
            raise QuotaExceeded(
                f"The agent keeps {MOST_RUNS} trainings; stop it, and remove folders of old ones."
            )
