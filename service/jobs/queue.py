"""The queue of runs as durable jobs; each change of state is one transaction.

    idle ──ask──► queued ──claim──► running ──► done
                    ▲                  ├──────► failed, cancelled ──ask──► queued
                    └── server or ─────┘
                        worker lost

The parties queue, read and cancel runs (`Jobs`). Each server claims queued ones, renews its lease
on them, and finishes them or gives them back (`Claims`); service/jobs/scheduler.py evaluates them.
A server writes a job's end only while the row still has its owner and number of attempts. If two
servers both believe that they own a job, only one of them succeeds, so a party sees a single
result however often it was computed. Synchronous and thread-safe.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from contract.http import ProgramState
from engines.interface import DECIDE, PublicModel
from governance.log.entries import Outcome
from service.applications.activity_log import SERVER, note
from service.applications.base import ApplicationService
from service.applications.credentials import READ, RUN, bearer_of
from service.applications.events import WITNESSED_RUNS
from service.applications.live_runs import LiveRun, LiveRuns
from service.applications.logged import log_use
from service.applications.permits import spend
from service.applications.rules import (
    ACTIVE,
    live,
    program_state,
    require_model,
    require_turn,
    run_of,
    seen,
    statements_on,
    uploads_of,
)
from service.applications.views import Application, Run
from service.applications.witnesses import SEED_BYTES, seed_place
from service.execution.interface import Evaluated, Evaluation
from service.storage.storage import QUEUE, Storage, even_when_full
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
from utils.errors import (
    EvaluationFailed,
    QueueFull,
    QuotaExceeded,
    RunCancelled,
    StorageUnavailable,
    TrisealError,
)
from utils.tokens import new_id

QUEUE_SECONDS = 2.0
"""Seconds after which to try again if the queue is full."""
MOST_CRASHES = 2
"""Worker crashes after which a job fails, since its input is assumed to be the cause."""
MOST_ATTEMPTS = 20
"""Attempts at one job, for any reason; only a server that crashes repeatedly reaches it."""
RESULT_BYTES = 1 << 20
"""Free disk space needed to start a job, for its result."""

_WAITING = select(RunRecord).where(RunRecord.status == QUEUED)


class Jobs(ApplicationService):
    """The parties' side: the jobs of all applications.

    Methods that take a token raise the same errors for the id and the token as those of
    Applications.
    """

    def ask(self, client_id: str, token: str | None, program: str) -> ProgramState:
        """Queue a program; one that is queued, running or done is left unchanged.

        Queuing spends a permit of every party whose data the program uses. Raises UnknownName,
        AlreadyRunning, OutOfStep, ForeignMessage, QuotaExceeded, ConsentMissing, PermitSpent,
        QueueFull.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = live(session, client_id, now)
            party = bearer_of(application, token, RUN, now)
            run = run_of(application, program)
            if run.status in (*ACTIVE, DONE):
                return _shown(application, run)
            require_model(application, self._public)
            require_turn(application, self._public, program)
            self._require_quota(application)
            job = new_id()
            spend(session, application, self._public, program, job, now)
            self._storage.lock(session, QUEUE)
            self._require_place(session)
            application.asked += 1
            run.job, run.status, run.queued = job, QUEUED, now
            run.deadline = now + self._settings.queue_timeout
            run.attempts = run.crashes = 0
            run.error = run.error_code = run.started = run.ended = None
            note(session, client_id, now, (party, SERVER), f"run {program}", 0)
            self._storage.announce(session, client_id)
            return program_state(run)

    def view(
        self, client_id: str, token: str | None, program: str, live_runs: LiveRuns
    ) -> ProgramState:
        """Return the state of a program; `live_runs` are those that this server evaluates.

        Raises UnknownName.
        """
        now = self._clock()
        with self._storage.read() as session:
            application = seen(session, client_id, now)
            bearer_of(application, token, READ, now)
            live_run = live_runs.get((client_id, program))
            return _shown(application, run_of(application, program), live_run)

    def look(self, client_id: str, program: str) -> ProgramState:
        """Return the state of a program for a caller whose token has been checked."""
        with self._storage.read() as session:
            application = seen(session, client_id, self._clock())
            return _shown(application, run_of(application, program))

    @even_when_full
    def cancel(self, client_id: str, token: str | None, program: str) -> ProgramState:
        """Cancel a run that is queued or running; any other is left unchanged."""
        now = self._clock()
        with self._storage.write() as session:
            application = live(session, client_id, now)
            bearer_of(application, token, RUN, now)
            run = run_of(application, program)
            return self._cancel(session, application, run, "a party of the application")

    @even_when_full
    def cancel_for_operator(self, client_id: str, program: str) -> ProgramState:
        """Cancel a run as `cancel` does, without a party's token."""
        with self._storage.write() as session:
            application = live(session, client_id, self._clock())
            run = run_of(application, program)
            return self._cancel(session, application, run, "the server's operator")

    def evaluation(self, client_id: str, program: str) -> Evaluation:
        """Return the evaluation that a run of the program would get now, to prepare for it."""
        with self._storage.read() as session:
            application = seen(session, client_id, self._clock())
            return _evaluation_of(application, run_of(application, program), self._public)

    def _cancel(
        self, session: Session, application: ApplicationRecord, run: RunRecord, who: str
    ) -> ProgramState:
        if run.status in ACTIVE:
            now = self._clock()
            _end(run, CANCELLED, now)
            error = RunCancelled(f"The run of {run.program} was cancelled by {who}.")
            run.error_code, run.error = error.code, error.message
            note(session, run.client_id, now, (SERVER, None), f"cancelled {run.program}", 0)
            self._storage.announce(session, run.client_id)
            log_use(self._storage, session, application, self._public, run, "failed")
        return program_state(run)

    def _require_quota(self, application: ApplicationRecord) -> None:
        most = self._settings.application_runs
        if application.asked >= most:
            raise QuotaExceeded(
                f"This application has reached its limit of {most} runs "
                "(TRISEAL_APPLICATION_RUNS); open a new one."
            )

    def _require_place(self, session: Session) -> None:
        most = self._settings.maximum_queued
        waiting = select(func.count()).where(RunRecord.status == QUEUED)
        if (session.scalar(waiting) or 0) >= most:
            raise QueueFull(
                f"The server is busy: its queue is full with {most} runs "
                "(TRISEAL_MAXIMUM_QUEUED). Try again in a moment.",
                QUEUE_SECONDS,
            )


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
    """The servers' side: the claims of the server `node` on jobs."""

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
            evaluation = _evaluation_of(application, run, self._public)
            if application.witnesses:
                self._storage.announce(session, WITNESSED_RUNS)
                evaluation = replace(evaluation, seed=secrets.token_bytes(SEED_BYTES))
            return Claim(run.client_id, run.attempts, evaluation)

    def hold(self, claim: Claim, progress: float) -> bool:
        """Renew the lease of a claim; return False if the job is no longer this server's."""
        with self._storage.write() as session:
            run = self._held(session, claim)
            if run is None:
                return False
            run.lease, run.progress = self._clock() + self._settings.lease_seconds, progress
            self._storage.announce(session, claim.client_id)
            return True

    def finish(self, claim: Claim, evaluated: Evaluated) -> bool:
        """Store a result and its times.

        Returns False if the job is no longer this server's; the result is then discarded.
        """
        store, now, result = claim.evaluation.store, self._clock(), evaluated.result
        name = self._storage.blobs.write(store, result)
        seed, made = self._sealed_seed(claim)
        kept = False
        try:
            with self._storage.write() as session:
                run = self._held(session, claim)
                if run is not None:
                    _end(run, DONE, now)
                    run.seconds, run.loading_seconds = evaluated.seconds, evaluated.loading_seconds
                    run.sha256, run.size = name, len(result)
                    run.seed = seed
                    if made is not None:
                        self._give_key(session, claim.client_id, made)
                    what = f"ran {run.program}"
                    note(session, claim.client_id, now, (SERVER, None), what, len(result))
                    self._storage.announce(session, claim.client_id)
                    if seed is not None:
                        self._storage.announce(session, WITNESSED_RUNS)
                    self._log(session, run, "done")
                    kept = True
        finally:
            if not kept:
                unused = [name] if made is None else [name, made]
                self._storage.release(claim.client_id, store, unused)
        return kept

    def _sealed_seed(self, claim: Claim) -> tuple[bytes | None, str | None]:
        """Return a claim's seed, encrypted under its application's key for messages, or None.

        Also returns the key's name if it was made for that, as no party has sent a message yet.
        """
        seed, store = claim.evaluation.seed, claim.evaluation.store
        if seed is None:
            return None, None
        with self._storage.read() as session:
            application = session.get(ApplicationRecord, claim.client_id)
            key = None if application is None else application.relay_key
        made = self._storage.relay_keys.make(store) if key is None else None
        place = seed_place(claim.client_id, claim.evaluation.job)
        return self._storage.relay_keys.seal(store, key or made or "", seed, place), made

    def _give_key(self, session: Session, client_id: str, made: str) -> None:
        """Make `made` the application's key; raises StorageUnavailable if it has got another."""
        application = session.get(ApplicationRecord, client_id)
        if application is not None and application.relay_key is None:
            application.relay_key = made
        else:  # a party has sent the first message just now, and the run is tried again
            raise StorageUnavailable("The application's key has changed; try again.")

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
        _end(run, FAILED, now)
        run.error_code, run.error = error.code, error.message
        note(session, run.client_id, now, (SERVER, None), f"failed {run.program}", 0)
        self._storage.announce(session, run.client_id)
        self._log(session, run, "failed")

    def _log(self, session: Session, run: RunRecord, outcome: Outcome) -> None:
        application = session.get(ApplicationRecord, run.client_id)
        if application is not None:  # its row is locked, so that it exists
            log_use(self._storage, session, application, self._public, run, outcome)

    def _late(self, run: RunRecord) -> EvaluationFailed:
        return EvaluationFailed(
            f"The run of {run.program} waited longer than {self._settings.queue_timeout:g} seconds "
            "(TRISEAL_QUEUE_TIMEOUT) and was given up; run it again."
        )


def _end(run: RunRecord, status: str, now: float) -> None:
    """Set a run's final status and release its owner and lease."""
    run.status, run.ended, run.owner, run.lease = status, now, None, None


def _shown(application: Application, run: Run, live_run: LiveRun | None = None) -> ProgramState:
    """Return the state of a program, with its witnesses' statements."""
    statements = statements_on(application, run.program)
    return program_state(run, live_run, statements, run_of(application, DECIDE).seconds)


def _evaluation_of(application: Application, run: Run, public: PublicModel) -> Evaluation:
    """Return the evaluation that an executor gets for a run."""
    sent = uploads_of(application)
    keys = [(s.party, s.file_name) for s in public.slots if run.program in s.needed_for]
    messages = {key: sent[key].sha256 for key in keys if key in sent}
    return Evaluation(run.job or "", run.program, application.store, messages)


def _crash(program: str) -> EvaluationFailed:
    return EvaluationFailed(
        f"The evaluation of {program} crashed its worker on every attempt; the worker has been "
        f"replaced. Encrypt and send the inputs again, then run {program} again; if it fails "
        "again, see the server's log."
    )
