"""Log entries about applications: permits, uses of data, statements and erasures.

Every function appends to the log in the caller's transaction, in which the application's row is
locked, and after which it must wait for no other lock (service/governance/log.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from engines.interface import MASKED_BY, PublicModel
from engines.statement import Statement, slot_name
from governance.log.entries import Outcome
from service.applications.receipts import ReceiptDigests
from service.applications.rules import used_uploads
from service.applications.views import Application, Run
from service.governance.log import (
    Event,
    application_of,
    may_record_refusal,
    person_key,
    record,
    record_erasure,
)
from service.storage.storage import LOG, Storage
from service.storage.tables import ApplicationRecord, PermitRecord, RunRecord, table_of
from utils.errors import GovernanceError, LogInconsistent

_PERMITS, _RUNS = table_of(PermitRecord), table_of(RunRecord)


def log_permit(
    storage: Storage,
    session: Session,
    client_id: str,
    public: PublicModel,
    allowed: tuple[str, str, str],
    receipt: ReceiptDigests,
    now: float,
) -> None:
    """Log that a permit was accepted; `allowed` is its party, program and text."""
    party, program, text = allowed
    event = Event(
        "permit",
        now,
        "allowed",
        digests={
            "permit": [_sha256(text)],
            "program": [public.digest],
            "receipt": [receipt.sha256] if receipt.sha256 else [],
            "request": [receipt.request_sha256] if receipt.request_sha256 else [],
        },
        names={"owner": (party,), "person": (client_id,)},
        person=application_of(client_id),
        details={"application": client_id, "party": party, "program": program},
    )
    record(storage, session, event)


def log_refused_permits(
    storage: Storage, client_id: str, texts: Sequence[str], error: GovernanceError, now: float
) -> None:
    """Log in a transaction of its own that permits were refused, as far as the limit allows."""
    if isinstance(error, LogInconsistent):
        return
    with storage.write() as session:
        if session.get(ApplicationRecord, client_id, with_for_update=True) is None:
            return
        person = application_of(client_id)
        storage.lock(session, LOG)
        person_key(session, person)
        if not may_record_refusal(session, person):
            return
        event = Event(
            "permit",
            now,
            "denied",
            digests={"permit": sorted({_sha256(text) for text in texts})},
            names={"person": (client_id,)},
            person=person,
            details={"application": client_id, "error": error.code},
        )
        record(storage, session, event)


def log_use(
    storage: Storage,
    session: Session,
    application: ApplicationRecord,
    public: PublicModel,
    run: RunRecord,
    outcome: Outcome,
) -> None:
    """Log the end of a run; its time is that at which its permits were spent."""
    spent = permits_of(session, run)
    digests = {
        "permit": sorted(_sha256(each.text) for each in spent),
        "receipt": sorted({each.receipt_sha256 for each in spent if each.receipt_sha256}),
        "request": sorted({each.request_sha256 for each in spent if each.request_sha256}),
        "program": [public.digest],
    }
    if outcome == "done" and run.sha256 is not None:
        digests["result"] = [run.sha256]
        if application.witnesses:
            statement = statement_of(application, public, run).to_bytes()
            digests["statement"] = [hashlib.sha256(statement).hexdigest()]
    event = Event(
        "use",
        _spent_at(session, run),
        outcome,
        digests=digests,
        names={"owner": sorted({each.party for each in spent}), "person": (run.client_id,)},
        person=application_of(run.client_id),
        details={
            "application": run.client_id,
            "program": run.program,
            "job": run.job,
            "inputs": _inputs(application, public, run.program),
            "error": run.error_code,
        },
    )
    record(storage, session, event)


def log_statement(
    storage: Storage,
    session: Session,
    statement: Statement,
    witness: str,
    refusal: str | None,
    now: float,
) -> None:
    """Log a witness's statement on a result: `done` if it signed, `denied` if it refused."""
    client_id = statement.application
    event = Event(
        "statement",
        now,
        "done" if refusal is None else "denied",
        digests={
            "statement": [hashlib.sha256(statement.to_bytes()).hexdigest()],
            "program": [statement.model_sha256],
            "result": [statement.result_sha256],
        },
        names={"person": (client_id,)},
        person=application_of(client_id),
        details={
            "application": client_id,
            "program": statement.program,
            "witness": witness,
            "refusal": refusal,
        },
    )
    record(storage, session, event)


def log_erasure(storage: Storage, session: Session, client_ids: Sequence[str], now: float) -> None:
    """Log the erasure of applications, and destroy the keys of all details about them."""
    for client_id in client_ids:
        record_erasure(storage, session, application_of(client_id), client_id, now)


def statement_of(application: Application, public: PublicModel, run: Run) -> Statement:
    """Return the statement that a witness of a finished run signs."""
    return Statement(
        application=application.client_id,
        program=run.program,
        model_sha256=public.digest,
        messages=_inputs(application, public, run.program),
        result_sha256=run.sha256 or "",
    )


def _inputs(application: Application, public: PublicModel, program: str) -> Mapping[str, str]:
    used = used_uploads(application, public, program)
    return {slot_name(*key): upload.sha256 for key, upload in used.items()}


def permits_of(session: Session, run: Run) -> Sequence[Any]:
    """Return the permits that a run, or the run that it opens, has spent."""
    base = _base_of(run)
    job = select(_RUNS.c.job).where(_RUNS.c.client_id == run.client_id, _RUNS.c.program == base)
    return session.execute(
        select(_PERMITS).where(
            _PERMITS.c.client_id == run.client_id,
            _PERMITS.c.program == base,
            _PERMITS.c.job == job.scalar_subquery(),
        )
    ).all()


def _spent_at(session: Session, run: RunRecord) -> float:
    queued = session.scalar(
        select(_RUNS.c.queued).where(
            _RUNS.c.client_id == run.client_id, _RUNS.c.program == _base_of(run)
        )
    )
    return float(queued or 0.0)


def _base_of(run: Run) -> str:
    return MASKED_BY.get(run.program, run.program)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
