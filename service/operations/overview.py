"""The operator's view of applications and jobs, and the revocation of an application's tokens.

It shows ids, times, sizes and states, but no tokens, codes or data of a record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import delete, func, select
from sqlalchemy.orm import selectinload

from contract.http import ApplicationState, RunStatus, Stage, moment
from engines.interface import PublicModel
from service.applications.rules import describe, seen, stage_of
from service.storage.storage import Storage, even_when_full
from service.storage.tables import IDLE, ApplicationRecord, RunRecord, TokenRecord, UploadRecord

PAGE = 200
"""Rows per response; a call with `after` returns the next page."""


class ApplicationLine(BaseModel):
    """One application in the operator's list; `bytes` is the total size of its files."""

    client_id: str
    state: Stage
    created_at: datetime
    expires_at: datetime
    joined: list[str]
    bytes: int


class ApplicationLines(BaseModel):
    """A page of applications, ordered by their ids.

    `after` is the value to pass for the next page, null on the last one.
    """

    items: list[ApplicationLine]
    after: str | None


class JobLine(BaseModel):
    """One job in the operator's list; `server` is the id of the server that evaluates it now."""

    job: str
    client_id: str
    program: str
    status: RunStatus
    attempts: int
    crashes: int
    progress: float
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    server: str | None
    error_code: str | None


class JobLines(BaseModel):
    """At most 200 jobs, the newest first."""

    items: list[JobLine]


class Operations:
    """The operator's queries and actions; synchronous and thread-safe.

    Methods that name an application raise InvalidRequest, UnknownApplication, ApplicationExpired.
    """

    def __init__(
        self, storage: Storage, public: PublicModel, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage = storage
        self._public = public
        self._clock = clock

    def applications(self, after: str | None = None) -> ApplicationLines:
        """Return a page of applications, ordered by their ids."""
        with self._storage.read() as session:
            size = (
                select(func.coalesce(func.sum(UploadRecord.size), 0))
                .where(UploadRecord.client_id == ApplicationRecord.client_id)
                .scalar_subquery()
            )
            query = select(ApplicationRecord, size).options(
                selectinload(ApplicationRecord.parties),
                selectinload(ApplicationRecord.uploads),
                selectinload(ApplicationRecord.runs),
            )
            if after is not None:
                query = query.where(ApplicationRecord.client_id > after)
            rows = session.execute(query.order_by(ApplicationRecord.client_id).limit(PAGE)).all()
            items = [self._line(row[0], int(row[1])) for row in rows]
        return ApplicationLines(
            items=items, after=items[-1].client_id if len(items) == PAGE else None
        )

    def jobs(self, status: RunStatus | None = None) -> JobLines:
        """Return the newest jobs, with one status or any."""
        with self._storage.read() as session:
            wanted = RunRecord.status != IDLE if status is None else RunRecord.status == status
            query = select(RunRecord).where(wanted, RunRecord.job.is_not(None))
            rows = session.scalars(query.order_by(RunRecord.queued.desc()).limit(PAGE))
            return JobLines(items=[_job(row) for row in rows])

    def show(self, client_id: str) -> ApplicationState:
        """Return the state of an application, as its parties see it."""
        with self._storage.read() as session:
            now = self._clock()
            return describe(seen(session, client_id, now), self._public, {}, now)

    @even_when_full
    def revoke(self, client_id: str) -> None:
        """Revoke all tokens of an application; its files and results stay until it expires."""
        with self._storage.write() as session:
            seen(session, client_id, self._clock(), lock=True)
            session.execute(delete(TokenRecord).where(TokenRecord.client_id == client_id))

    def _line(self, application: ApplicationRecord, size: int) -> ApplicationLine:
        return ApplicationLine(
            client_id=application.client_id,
            state=stage_of(application, self._public),
            created_at=moment(application.created),
            expires_at=moment(application.expires),
            joined=sorted(p.party for p in application.parties if p.joined is not None),
            bytes=size,
        )


def _job(run: RunRecord) -> JobLine:
    return JobLine(
        job=run.job or "",
        client_id=run.client_id,
        program=run.program,
        status=run.status,
        attempts=run.attempts,
        crashes=run.crashes,
        progress=run.progress,
        queued_at=_moment(run.queued),
        started_at=_moment(run.started),
        ended_at=_moment(run.ended),
        server=run.owner,
        error_code=run.error_code,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)
