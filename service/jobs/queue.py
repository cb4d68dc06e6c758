"""Runs as durable jobs; each change of state is one transaction.

    idle ──ask──► queued ──claim──► running ──► done
                    ▲                  ├──────► failed, cancelled ──ask──► queued
                    └── server or ─────┘
                        worker lost

This is the parties' side: queue, read and cancel runs. service/jobs/claims.py is the side of the
server that evaluates them. Synchronous and thread-safe.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from contract.http import ProgramState
from engines.interface import PublicModel
from service.applications.activity_log import SERVER, note
from service.applications.base import ApplicationService
from service.applications.credentials import READ, RUN, bearer_of, new_id
from service.applications.rules import (
    ACTIVE,
    live,
    program_state,
    require_model,
    require_turn,
    run_of,
    seen,
    uploads_of,
)
from service.applications.views import Application
from service.execution.interface import Evaluation
from service.storage.storage import QUEUE, even_when_full
from service.storage.tables import (
    CANCELLED,
    DONE,
    QUEUED,
    ApplicationRecord,
    RunRecord,
)
from utils.errors import (
    QueueFull,
    QuotaExceeded,
    RunCancelled,
)

QUEUE_SECONDS = 2.0
"""Seconds after which to try again if the queue is full."""


class Jobs(ApplicationService):
    """The jobs of all applications.

    Methods that take a token raise the same errors for the id and the token as those of
    Applications.
    """

    def ask(self, client_id: str, token: str | None, program: str) -> ProgramState:
        """Queue a program; one that is queued, running or done is left unchanged.

        Raises UnknownName, AlreadyRunning, OutOfStep, ForeignMessage, QuotaExceeded, QueueFull.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = live(session, client_id, now)
            party = bearer_of(application, token, RUN, now)
            run = run_of(application, program)
            if run.status in (*ACTIVE, DONE):
                return program_state(run)
            require_model(application, self._public)
            require_turn(application, self._public, program)
            self._require_quota(application)
            self._storage.lock(session, QUEUE)
            self._require_place(session)
            application.asked += 1
            run.job, run.status, run.queued = new_id(), QUEUED, now
            run.deadline = now + self._settings.queue_timeout
            run.attempts = run.crashes = 0
            run.error = run.error_code = run.started = run.ended = None
            note(session, client_id, now, (party, SERVER), f"run {program}", 0)
            self._storage.announce(session, client_id)
            return program_state(run)

    def view(self, client_id: str, token: str | None, program: str) -> ProgramState:
        """Return the state of a program; raises UnknownName."""
        now = self._clock()
        with self._storage.read() as session:
            application = seen(session, client_id, now)
            bearer_of(application, token, READ, now)
            return program_state(run_of(application, program))

    def look(self, client_id: str, program: str) -> ProgramState:
        """Return the state of a program for a caller whose token has been checked."""
        with self._storage.read() as session:
            return program_state(run_of(seen(session, client_id, self._clock()), program))

    @even_when_full
    def cancel(self, client_id: str, token: str | None, program: str) -> ProgramState:
        """Cancel a run that is queued or running; any other is left unchanged."""
        now = self._clock()
        with self._storage.write() as session:
            application = live(session, client_id, now)
            bearer_of(application, token, RUN, now)
            return self._cancel(session, run_of(application, program), "a party of the application")

    @even_when_full
    def cancel_for_operator(self, client_id: str, program: str) -> ProgramState:
        """Cancel a run as `cancel` does, without a party's token."""
        with self._storage.write() as session:
            application = live(session, client_id, self._clock())
            return self._cancel(session, run_of(application, program), "the server's operator")

    def evaluation(self, client_id: str, program: str) -> Evaluation:
        """Return the evaluation that a run of the program would get now, to prepare for it."""
        with self._storage.read() as session:
            application = seen(session, client_id, self._clock())
            return evaluation_of(application, run_of(application, program), self._public)

    def _cancel(self, session: Session, run: RunRecord, who: str) -> ProgramState:
        if run.status in ACTIVE:
            now = self._clock()
            end(run, CANCELLED, now)
            error = RunCancelled(f"The run of {run.program} was cancelled by {who}.")
            run.error_code, run.error = error.code, error.message
            note(session, run.client_id, now, (SERVER, None), f"cancelled {run.program}", 0)
            self._storage.announce(session, run.client_id)
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


def end(run: RunRecord, status: str, now: float) -> None:
    """Set a run's final status and release its owner and lease."""
    run.status, run.ended, run.owner, run.lease = status, now, None, None


def evaluation_of(application: Application, run: RunRecord, public: PublicModel) -> Evaluation:
    """Return the evaluation that an executor gets for a run."""
    sent = uploads_of(application)
    keys = [(s.party, s.file_name) for s in public.slots if run.program in s.needed_for]
    messages = {key: sent[key].sha256 for key in keys if key in sent}
    return Evaluation(run.job or "", run.program, application.store, messages)
