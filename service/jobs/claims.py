"""The server's side of jobs: claim, renew the lease, finish, give back.

A server writes a job's end only while the row still has its owner and number of attempts. If two
servers both believe that they own a job, only one of them succeeds, so a party sees a single
result however often it was computed. Synchronous and thread-safe; service/jobs/scheduler.py runs
the jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from engines.interface import PublicModel
from service.applications.activity_log import SERVER, note
from service.applications.base import ApplicationService
from service.applications.rules import ACTIVE
from service.execution.interface import Evaluation
from service.jobs.queue import end, evaluation_of
from service.storage.storage import Storage, even_when_full
from service.storage.tables import (
    CANCELLED,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    ApplicationRecord,
    RunRecord,
)
from settings import Settings
from utils.errors import EvaluationFailed, TrisealError

MOST_CRASHES = 2
"""Worker crashes after which a job fails, since its input is assumed to be the cause."""
MOST_ATTEMPTS = 20
"""Attempts at one job, for any reason; only a server that crashes repeatedly reaches it."""
RESULT_BYTES = 1 << 20
"""Free disk space needed to start a job, for its result."""


_WAITING = select(RunRecord).where(RunRecord.status == QUEUED)


@dataclass(frozen=True)
class Claim:
    """A job that a server evaluates, and the number of this attempt."""

    client_id: str
    attempt: int
    evaluation: Evaluation

    @property
    def key(self) -> tuple[str, str]:
        """The application's id and the program."""
        return self.client_id, self.evaluation.program


class Claims(ApplicationService):
    """The claims of the server `node` on jobs."""

    def __init__(
        self,
        storage: Storage,
        public: PublicModel,
        settings: Settings,
        node: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(storage, public, settings, clock)
        self._node = node

    def claim(self) -> Claim | None:
        """Claim the job that has waited longest.

        Returns None if no job waits or the disk has no room for a result.
        """
        now = self._clock()
        with self._storage.read() as session:  # so that an idle server does not write
            if session.scalar(_WAITING.with_only_columns(RunRecord.program).limit(1)) is None:
                return None
        if not self._storage.has_disk(RESULT_BYTES):
            return None
        with self._storage.write() as session:
            run = session.scalar(
                _WAITING.order_by(RunRecord.queued).limit(1).with_for_update(skip_locked=True)
            )
            application = None if run is None else session.get(ApplicationRecord, run.client_id)
            if run is None or application is None:
                return None
            run.status, run.owner, run.started = RUNNING, self._node, now
            run.lease = now + self._settings.lease_seconds
            run.attempts += 1
            run.progress = 0.0
            self._storage.announce(session, run.client_id)
            return Claim(run.client_id, run.attempts, evaluation_of(application, run, self._public))

    def hold(self, claim: Claim, progress: float) -> bool:
        """Renew the lease of a claim; return False if the job is no longer this server's."""
        with self._storage.write() as session:
            run = self._held(session, claim)
            if run is None:
                return False
            run.lease, run.progress = self._clock() + self._settings.lease_seconds, progress
            self._storage.announce(session, claim.client_id)
            return True

    def finish(self, claim: Claim, seconds: float, result: bytes) -> bool:
        """Store a result and its evaluation time in seconds.

        Returns False if the job is no longer this server's; the result is then discarded.
        """
        store, now = claim.evaluation.store, self._clock()
        name = self._storage.blobs.write(store, result)
        kept = False
        try:
            with self._storage.write() as session:
                run = self._held(session, claim)
                if run is not None:
                    end(run, DONE, now)
                    run.seconds, run.sha256, run.size = seconds, name, len(result)
                    what = f"ran {run.program}"
                    note(session, claim.client_id, now, (SERVER, None), what, len(result))
                    self._storage.announce(session, claim.client_id)
                    kept = True
        finally:
            if not kept:
                self._storage.release(claim.client_id, store, [name])
        return kept

    @even_when_full
    def fail(self, claim: Claim, error: TrisealError) -> bool:
        """Fail a job; its slots may be filled again, and it may be queued again.

        Returns False if the job is no longer this server's.
        """
        with self._storage.write() as session:
            run = self._held(session, claim)
            if run is None:
                return False
            self._fail(session, run, error)
            return True

    def crashed(self, claim: Claim) -> str:
        """Handle the death of a job's worker: queue the job again the first time, then fail it.

        Returns the job's new status.
        """
        with self._storage.write() as session:
            run = self._held(session, claim)
            if run is None:
                return CANCELLED
            run.crashes += 1
            if run.crashes < MOST_CRASHES:
                self._again(session, run)
            else:
                self._fail(session, run, _crash(run.program))
            return run.status

    @even_when_full
    def give_back(self, claim: Claim) -> None:
        """Put a job back into the queue at its old position, since this server is stopping."""
        with self._storage.write() as session:
            run = self._held(session, claim)
            if run is not None:
                self._again(session, run)

    def recover(self) -> int:
        """Queue all running jobs again when the only server starts; return their number."""
        return self._take_back(RunRecord.status == RUNNING)

    def overdue(self) -> int:
        """Queue again jobs whose lease has run out, fail those that waited too long.

        Returns their number.
        """
        now = self._clock()
        count = self._take_back((RunRecord.status == RUNNING) & (RunRecord.lease <= now))
        late = (RunRecord.status == QUEUED) & (RunRecord.deadline <= now)
        return count + self._each(
            late, lambda session, run: self._fail(session, run, self._late(run))
        )

    def counts(self) -> tuple[int, int]:
        """Return the numbers of queued and running jobs, on all servers."""
        with self._storage.read() as session:
            query = select(RunRecord.status, func.count()).where(RunRecord.status.in_(ACTIVE))
            found = {row[0]: row[1] for row in session.execute(query.group_by(RunRecord.status))}
        return found.get(QUEUED, 0), found.get(RUNNING, 0)

    def _take_back(self, lost: ColumnElement[bool]) -> int:
        def take(session: Session, run: RunRecord) -> None:
            if run.attempts < MOST_ATTEMPTS:
                self._again(session, run)
            else:
                self._fail(session, run, _crash(run.program))

        return self._each(lost, take)

    def _each(self, which: ColumnElement[bool], act: Callable[[Session, RunRecord], None]) -> int:
        """Call `act` on each matching run in its own transaction; return the number of runs."""
        with self._storage.read() as session:
            found = session.execute(select(RunRecord.client_id, RunRecord.program).where(which))
            keys = [(row.client_id, row.program) for row in found]
        count = 0
        for client_id, program in keys:
            with self._storage.write() as session:
                session.get(ApplicationRecord, client_id, with_for_update=True)
                own = (RunRecord.client_id == client_id) & (RunRecord.program == program)
                run = session.scalar(select(RunRecord).where(own & which).with_for_update())
                if run is not None:
                    act(session, run)
                    count += 1
        return count

    def _held(self, session: Session, claim: Claim) -> RunRecord | None:
        # Every change locks the application first, so that transactions cannot deadlock.
        session.get(ApplicationRecord, claim.client_id, with_for_update=True)
        return session.scalar(
            select(RunRecord)
            .where(
                RunRecord.client_id == claim.client_id,
                RunRecord.job == claim.evaluation.job,
                RunRecord.status == RUNNING,
                RunRecord.owner == self._node,
                RunRecord.attempts == claim.attempt,
            )
            .with_for_update()
        )

    def _again(self, session: Session, run: RunRecord) -> None:
        run.status, run.owner, run.lease, run.progress = QUEUED, None, None, 0.0
        self._storage.announce(session, run.client_id)

    def _fail(self, session: Session, run: RunRecord, error: TrisealError) -> None:
        now = self._clock()
        end(run, FAILED, now)
        run.error_code, run.error = error.code, error.message
        note(session, run.client_id, now, (SERVER, None), f"failed {run.program}", 0)
        self._storage.announce(session, run.client_id)

    def _late(self, run: RunRecord) -> EvaluationFailed:
        return EvaluationFailed(
            f"The run of {run.program} waited longer than {self._settings.queue_timeout:g} seconds "
            "(TRISEAL_QUEUE_TIMEOUT) and was given up; run it again."
        )


def _crash(program: str) -> EvaluationFailed:
    return EvaluationFailed(
        f"The evaluation of {program} crashed its worker on every attempt; the worker has been "
        f"replaced. Encrypt and send the inputs again, then run {program} again; if it fails "
        "again, see the server's log."
    )
