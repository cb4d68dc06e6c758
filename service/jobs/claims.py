"""Jobs as the server that does them sees them: claimed, held, ended, given back.

Whoever claims a job writes its end only while the row still has its owner and number of attempts,
so that of two servers that both believe they have it one is heard: a party sees one result, however
often it was computed. Synchronous and thread-safe; service/jobs/scheduler.py is what runs and
waits.
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
"""Of a worker, under one job; then the input is taken to be what brings it down."""
MOST_ATTEMPTS = 20
"""Of one job, whatever ends them; only a server that keeps dying gets there."""
RESULT_BYTES = 1 << 20
"""What has to be free on the disk for a job to be begun: its result must be kept."""


_WAITING = select(RunRecord).where(RunRecord.status == QUEUED)


@dataclass(frozen=True)
class Claim:
    """A job that a server evaluates, and which of its attempts this is."""

    client_id: str
    attempt: int
    evaluation: Evaluation

    @property
    def key(self) -> tuple[str, str]:
        """Application and program."""
        return self.client_id, self.evaluation.program


class Claims(ApplicationService):
    """The jobs that the server `node` takes."""

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
        """The job that has waited longest, now this server's.

        None where none waits, and where the disk has no room for a result.
        """
        now = self._clock()
        with self._storage.read() as session:  # an idle server only reads
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
        """Keep a claim for another while; False where it is no longer this server's."""
        with self._storage.write() as session:
            run = self._held(session, claim)
            if run is None:
                return False
            run.lease, run.progress = self._clock() + self._settings.lease_seconds, progress
            self._storage.announce(session, claim.client_id)
            return True

    def finish(self, claim: Claim, seconds: float, result: bytes) -> bool:
        """Keep a result and the seconds of its evaluation; False where nobody waits for it."""
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
        """Give a job up; its slots may be sent again, and it may be asked for again."""
        with self._storage.write() as session:
            run = self._held(session, claim)
            if run is None:
                return False
            self._fail(session, run, error)
            return True

    def crashed(self, claim: Claim) -> str:
        """Its worker died under a job: queued once more, then failed; answers which."""
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
        """Put a job back into the queue, in its old place, since this server is ending."""
        with self._storage.write() as session:
            run = self._held(session, claim)
            if run is not None:
                self._again(session, run)

    def recover(self) -> int:
        """At the start of the only server there is: all that runs is nobody's; how many."""
        return self._take_back(RunRecord.status == RUNNING)

    def overdue(self) -> int:
        """Queue again what a silent server had, fail what waited too long; how many."""
        now = self._clock()
        count = self._take_back((RunRecord.status == RUNNING) & (RunRecord.lease <= now))
        late = (RunRecord.status == QUEUED) & (RunRecord.deadline <= now)
        return count + self._each(
            late, lambda session, run: self._fail(session, run, self._late(run))
        )

    def counts(self) -> tuple[int, int]:
        """How many jobs wait and how many run, on all servers."""
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
        """Do something to each such run, each in a transaction of its own; how many there were."""
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
        # The application first: whoever changes one locks it first, so that none waits in a ring.
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
            "(TRISEAL_QUEUE_TIMEOUT) and was given up; ask for it again."
        )


def _crash(program: str) -> EvaluationFailed:
    return EvaluationFailed(
        f"The evaluation of {program} ended its worker each time it was tried; it has been "
        "replaced. Encrypt and send again, then run it; see the server's log if it fails again."
    )
