"""The rules of an application: missing slots, permitted uploads and runs, and the visible state.

Functions of an application's rows and the public model alone; they read and never write.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar, cast, overload

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from contract.http import (
    ApplicationState,
    ProgramState,
    ReviewStage,
    SlotState,
    Stage,
    Witness,
    WitnessStatement,
    moment,
)
from engines.interface import DECIDE, EXPLAIN, MASKED_BY, PROGRAMS, REASONS, PublicModel, Slot
from governance.canonical import digest
from governance.program_permits import covered_slots, inputs_of, parties_of
from service.applications.credentials import PARTY_SCOPES, require_id
from service.applications.live_runs import LiveRun, LiveRuns
from service.applications.views import (
    Application,
    ApplicationView,
    Run,
    RunRow,
    Statement,
    Upload,
    view_of,
)
from service.storage.tables import (
    DONE,
    QUEUED,
    RUNNING,
    ApplicationRecord,
    RunRecord,
    TombstoneRecord,
)
from utils.errors import (
    AlreadyRunning,
    AlreadySent,
    ApplicationExpired,
    ForeignMessage,
    InvalidRequest,
    OutOfStep,
    UnknownApplication,
    UnknownName,
)

A = TypeVar("A", ApplicationRecord, ApplicationView)

BUSY = "Another program of this application is running; wait until it ends, then try again."
ACTIVE = (QUEUED, RUNNING)


def live(session: Session, client_id: str, now: float) -> ApplicationRecord:
    """Return the live application with this id, its row locked for a change.

    Raises InvalidRequest, UnknownApplication, ApplicationExpired.
    """
    require_id(client_id)
    application = session.get(ApplicationRecord, client_id, with_for_update=True)
    return _not_over(session, client_id, application, now)


def seen(session: Session, client_id: str, now: float, *, lock: bool = False) -> ApplicationView:
    """Return a read-only view of the live application with this id.

    `lock` locks its row, for a change of rows that belong to it. Raises as `live` does.
    """
    require_id(client_id)
    return _not_over(session, client_id, view_of(session, client_id, lock=lock), now)


def _not_over(session: Session, client_id: str, application: A | None, now: float) -> A:
    if application is None:
        if session.get(TombstoneRecord, client_id) is None:
            raise UnknownApplication("There is no such application, or it has been erased.")
    elif application.expires > now:
        return application
    raise ApplicationExpired("The application has expired; open a new one.")


def count_live(session: Session, now: float) -> int:
    """Return the number of applications that have not expired."""
    return session.scalar(select(func.count()).where(ApplicationRecord.expires > now)) or 0


def count_reviewed(session: Session, now: float) -> int:
    """Return the number of applications with a review that have not expired."""
    live = ApplicationRecord.expires > now
    reviewed = ApplicationRecord.review.is_not(None)
    return session.scalar(select(func.count()).where(live, reviewed)) or 0


def readers_of(public: PublicModel, named: list[str] | None) -> list[str]:
    """Return the parties that learn the decision, in the schema's order; all if `named` is None.

    Raises UnknownParty, and InvalidRequest if `named` is empty.
    """
    names = public.schema_.party_names
    if named is None:
        return names
    for name in named:
        public.schema_.party(name)
    if not named:
        raise InvalidRequest("readers: name at least one party that learns the decision.")
    return [name for name in names if name in named]


def explanation_readers_of(
    public: PublicModel, named: list[str] | None, readers: list[str]
) -> list[str]:
    """Return those of the decision's `readers` that learn the explanation, in the schema's order.

    If `named` is None, the explanation goes to whom it concerns: the first party, which is the
    applicant, and the owner of the explained column, as far as they are readers; to all readers if
    neither is. Raises InvalidRequest if `named` is empty or contains a party that is no reader.
    """
    if named is None:
        concerned = (public.schema_.party_names[0], public.schema_.explained_party)
        return [name for name in readers if name in concerned] or readers
    return _some_of(named, readers, "explanation_readers")


def reasons_readers_of(
    public: PublicModel, named: list[str] | None, readers: list[str], explained: list[str]
) -> list[str]:
    """Return those of the decision's `readers` that learn the reasons, in the schema's order.

    If `named` is None, the reasons go to the first party, which is the applicant, or to the readers
    of the explanation, `explained`, if the applicant does not learn the decision. Empty if the
    model states no reasons. Raises InvalidRequest if `named` is empty, contains a party that is no
    reader, or the model states no reasons.
    """
    if REASONS not in public.programs:
        if named is not None:
            raise InvalidRequest("reasons_readers: this model states no reasons; leave it out.")
        return []
    if named is None:
        first = public.schema_.party_names[0]
        return [first] if first in readers else explained
    return _some_of(named, readers, "reasons_readers")


def _some_of(named: list[str], readers: list[str], field: str) -> list[str]:
    if not named or not set(named) <= set(readers):
        raise InvalidRequest(
            f"{field}: name at least one of the parties that learn the decision, and no other: "
            f"{', '.join(readers)}."
        )
    return [name for name in readers if name in named]


def scopes_of(asked: list[str] | None) -> list[str]:
    """Return the scopes of a party's token: those asked for, or all. Raises InvalidRequest."""
    if asked is None:
        return list(PARTY_SCOPES)
    if not asked or any(scope not in PARTY_SCOPES for scope in asked):
        raise InvalidRequest(f"scopes: name at least one of {', '.join(PARTY_SCOPES)}.")
    return [scope for scope in PARTY_SCOPES if scope in asked]


def uploads_of(application: Application) -> dict[tuple[str, str], Upload]:
    """Return the uploads by (party, file name)."""
    return {(u.party, u.file_name): u for u in application.uploads}


def missing_slots(application: Application, public: PublicModel, program: str) -> list[str]:
    """Return the empty slots that a program needs, in the form `bank: encrypted_inputs`."""
    sent = uploads_of(application)
    return [
        f"{slot.party}: {slot.file_name}"
        for slot in public.slots
        if program in slot.needed_for and (slot.party, slot.file_name) not in sent
    ]


@overload
def run_of(application: ApplicationRecord, program: str) -> RunRecord: ...
@overload
def run_of(application: ApplicationView, program: str) -> RunRow: ...
def run_of(application: Application, program: str) -> Run:
    """Return the row of one program; raises UnknownName."""
    for run in application.runs:
        if run.program == program:
            return run
    names = ", ".join(sorted(run.program for run in application.runs))
    raise UnknownName(f"There is no program {program[:40]!r}; the programs are {names}.")


def sha256_of(application: Application) -> dict[tuple[str, str], str]:
    """Return the digests of the uploads by (party, file name)."""
    return {key: upload.sha256 for key, upload in uploads_of(application).items()}


def used_uploads(
    application: Application, public: PublicModel, program: str
) -> dict[tuple[str, str], Upload]:
    """Return the uploads that a run of the program uses, by (party, file name).

    They can no longer be replaced once the run has begun.
    """
    sent = uploads_of(application)
    keys = [(slot.party, slot.file_name) for slot in public.slots if program in slot.needed_for]
    return {key: sent[key] for key in keys if key in sent}


def permitted(
    application: ApplicationView, public: PublicModel, program: str, now: float
) -> set[str]:
    """Return the parties that have a permit for a run of the program on the present messages."""
    rows = [row for row in application.permits if row.program == program and row.expires > now]
    sha256 = sha256_of(application)
    if not rows or any(slot not in sha256 for slot in covered_slots(public, program)):
        return set()
    inputs = digest(inputs_of(public, program, sha256))
    return {row.party for row in rows if row.inputs_sha256 == inputs}


def unpermitted(
    application: ApplicationView, public: PublicModel, program: str, now: float
) -> tuple[str, ...]:
    """Return the parties without a permit for a run of the program, in the schema's order.

    A run that is under way or done, and a comparison, need none.
    """
    needed = parties_of(public, program)
    if not needed or run_of(application, program).status in (*ACTIVE, DONE):
        return ()
    found = permitted(application, public, program, now)
    return tuple(party for party in needed if party not in found)


def require_model(application: Application, public: PublicModel) -> None:
    """Raise ForeignMessage if the deployment has changed since the application was opened."""
    if application.model_version != public.model_version:
        raise ForeignMessage(
            "The server's model has changed since the application was opened; open a new one."
        )


def require_open_slot(application: Application, slot: Slot) -> None:
    """Raise AlreadyRunning or AlreadySent if a program uses or has used the slot."""
    for run in application.runs:
        if run.program not in slot.needed_for:
            continue
        if run.status in ACTIVE:
            raise AlreadyRunning(
                f"{run.program} is {run.status} on {slot.party}'s {slot.file_name}; it can no "
                "longer be replaced."
            )
        if run.status == DONE:
            raise AlreadySent(
                f"{run.program} has been run on {slot.party}'s {slot.file_name}; it can no longer "
                "be replaced. Open a new application for other data."
            )


def require_turn(application: Application, public: PublicModel, program: str) -> None:
    """Raise AlreadyRunning, or an OutOfStep that names the missing step or files."""
    if any(run.status in ACTIVE for run in application.runs if run.program != program):
        raise AlreadyRunning(BUSY)
    later = program in PROGRAMS and program != DECIDE
    before = public.final(DECIDE) if later else MASKED_BY.get(program)
    if before is not None and run_of(application, before).status != DONE:
        raise OutOfStep(f"{program} comes after {before}: run {before} first.")
    missing = missing_slots(application, public, program)
    if missing:
        raise OutOfStep(f"{program} cannot run yet; still to be sent: {', '.join(missing)}.")


def stage_of(application: Application, public: PublicModel) -> Stage:
    """Return the application's stage; reasons without an explanation leave it `decided`."""
    status = {run.program: run.status for run in application.runs}
    if any(each in ACTIVE for each in status.values()):
        return "running"
    if status.get(public.final(EXPLAIN)) == DONE:
        return "explained"
    if status.get(public.final(DECIDE)) == DONE:
        return "decided"
    return "open" if missing_slots(application, public, DECIDE) else "ready"


def describe(
    application: ApplicationView,
    public: PublicModel,
    live_runs: LiveRuns,
    now: float,
) -> ApplicationState:
    """Return the state that all of its parties may see at `now`.

    `live_runs` are the runs that this server evaluates.
    """
    decision = next((run.seconds for run in application.runs if run.program == DECIDE), None)
    sent = uploads_of(application)
    slots = []
    for slot in public.slots:
        upload = sent.get((slot.party, slot.file_name))
        slots.append(
            SlotState(
                party=slot.party,
                file_name=slot.file_name,
                needed_for=slot.needed_for,
                received_bytes=None if upload is None else upload.size,
                sha256=None if upload is None else upload.sha256,
            )
        )
    joined = {row.party for row in application.parties if row.joined is not None}
    return ApplicationState(
        client_id=application.client_id,
        state=stage_of(application, public),
        created_at=moment(application.created),
        expires_at=moment(application.expires),
        joined=[party for party in public.schema_.party_names if party in joined],
        readers=application.readers,
        explanation_readers=application.explanation_readers,
        reasons_readers=application.reasons_readers,
        witnesses=witnesses_of(application.witnesses),
        review=cast(ReviewStage, application.review or "none"),
        slots=slots,
        programs={
            run.program: program_state(
                run,
                live_runs.get((run.client_id, run.program)),
                statements_on(application, run.program),
                decision,
            )
            for run in application.runs
        },
        missing={p: missing_slots(application, public, p) for p in public.programs},
        unpermitted={p: unpermitted(application, public, p, now) for p in public.programs},
    )


def witnesses_of(named: Mapping[str, str]) -> tuple[Witness, ...]:
    """Return the witnesses in the form of the contract, from their names by public key."""
    return tuple(Witness(name=name, key=key) for key, name in named.items())


def statements_on(application: Application, program: str) -> dict[str, WitnessStatement]:
    """Return the witnesses' statements on the result of a program, by public key."""
    rows: Iterable[Statement] = application.statements
    return {
        row.witness: WitnessStatement(
            signature=None if row.signature is None else row.signature.hex(), refusal=row.refusal
        )
        for row in sorted(rows, key=lambda row: row.witness)
        if row.program == program
    }


def program_state(
    run: Run,
    live_run: LiveRun | None = None,
    statements: Mapping[str, WitnessStatement] = MappingProxyType({}),
    decision: float | None = None,
) -> ProgramState:
    """Return the state of a program.

    `live_run` is its progress if this server evaluates it, `statements` what its witnesses say,
    and `decision` the seconds that the application's decision took.
    """
    running = 0.0
    now = LiveRun()
    if run.status == RUNNING:
        now = live_run or now
        running = run.progress if live_run is None else live_run.share
    return ProgramState(
        phase=now.phase,
        runs=now.runs,
        remaining_seconds=now.remaining(time.monotonic(), decision),
        status=run.status,
        job=run.job,
        attempts=run.attempts,
        progress=1.0 if run.status == DONE else running,
        queued_at=None if run.queued is None else moment(run.queued),
        deadline=None if run.deadline is None else moment(run.deadline),
        seconds=run.seconds,
        loading_seconds=run.loading_seconds,
        result_bytes=run.size,
        error_code=run.error_code,
        error=run.error,
        statements=dict(statements),
    )
