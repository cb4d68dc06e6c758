"""Witnesses of applications: their open tasks, what they fetch for them, and their statements.

A task is a run of a program on which a witness of the application has not made its statement. It
begins with the evaluation, so that the witness can evaluate at the same time: the messages that the
run uses can no longer be replaced. It stays open over restarts, until the application ends.

The seed of the run's re-randomisation is stored encrypted under the application's key for messages,
is given to witnesses only, and is removed with the last statement. This module is independent of
HTTP; its methods are synchronous and thread-safe, and take the public key of a witness that has
signed its request.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from contract.http import (
    Refusal,
    WitnessedResult,
    WitnessMessage,
    WitnessTask,
    WitnessTasks,
)
from engines.interface import PublicModel
from engines.statement import verify_statement
from service.applications.activity_log import note
from service.applications.base import ApplicationService
from service.applications.logged import log_statement, statement_of
from service.applications.rules import seen, used_uploads
from service.applications.views import ApplicationView
from service.storage.storage import even_when_full
from service.storage.tables import (
    DONE,
    RUNNING,
    ApplicationRecord,
    RunRecord,
    StatementRecord,
    table_of,
)
from settings import Settings
from utils.errors import AlreadySent, InvalidRequest, UnknownName
from utils.witness_list import parse_witnesses

SEED_BYTES = 32
MOST_TASKS = 16
"""Tasks in one response."""


def known_witnesses(public: PublicModel, settings: Settings) -> dict[str, str]:
    """Return the names of the server's witnesses by public key.

    There are none with an engine whose parties do not open results jointly: they would not ask for
    a signature.
    """
    return parse_witnesses(settings.witnesses or "") if public.engine.joint_keys else {}


def named_witnesses(
    public: PublicModel, settings: Settings, names: list[str] | None
) -> dict[str, str]:
    """Return the witnesses of a new application: those of `names`, or all. Raises InvalidRequest.

    The result maps public keys to names.
    """
    known = known_witnesses(public, settings)
    if names is None:
        return known
    unknown = [name for name in names if name not in known.values()]
    if unknown:
        raise InvalidRequest(
            f"witnesses: there is no witness {unknown[0][:40]!r}; the server's witnesses are: "
            f"{', '.join(known.values()) or 'none'}."
        )
    return {key: name for key, name in known.items() if name in names}


def seed_place(client_id: str, job: str) -> str:
    """Return the context that a stored seed is bound to."""
    return f"{client_id} seed of {job}"


class WitnessTasksService(ApplicationService):
    """The tasks of all witnesses.

    All methods but `tasks` raise UnknownName if the witness has no such open task, and
    StoredDataDamaged.
    """

    @property
    def known(self) -> Mapping[str, str]:
        """The names of the server's witnesses by public key."""
        return known_witnesses(self._public, self._settings)

    def tasks(self, witness: str) -> WitnessTasks:
        """Return the open tasks of a witness, at most MOST_TASKS.

        Finished runs come first, the oldest first, and then active ones.
        """
        with self._storage.read() as session:
            found = [
                self._task(application, run)
                for application, run in self._open(session, witness, None)[:MOST_TASKS]
            ]
        listed = " ".join(f"{task.id} {task.done}" for task in found)
        return WitnessTasks(items=tuple(found), tag=hashlib.sha256(listed.encode()).hexdigest())

    def message(self, witness: str, task: str, party: str, file_name: str) -> bytes:
        """Return a message that the task's run used; also raises UnknownName for another name."""
        with self._storage.read() as session:
            application, run = self._one(session, witness, task)
            found = used_uploads(application, self._public, run.program).get((party, file_name))
            if found is None:
                raise UnknownName(f"{run.program} uses no message of that party and name.")
            store, name = application.store, found.sha256
        return self._storage.blobs.read(store, name)

    def result(self, witness: str, task: str) -> WitnessedResult:
        """Return the task's sealed result and its seed; also raises UnknownName before the end."""
        with self._storage.read() as session:
            application, run = self._one(session, witness, task)
            if run.status != DONE:
                raise _unknown()
            store, name, key = application.store, run.sha256 or "", application.relay_key or ""
            sealed, place = run.seed or b"", seed_place(application.client_id, task)
        return WitnessedResult.of(
            self._storage.blobs.read(store, name),
            self._storage.relay_keys.open(store, key, sealed, place),
        )

    @even_when_full
    def state(self, witness: str, task: str, signature: str | None, refusal: Refusal | None) -> str:
        """Store a witness's statement, either a signature or a refusal; return the application.

        The same statement may be repeated. Raises ResultNotWitnessed if the signature does not
        belong to the run, and AlreadySent if the witness has made another statement.
        """
        signed = None if signature is None else bytes.fromhex(signature)
        with self._storage.write() as session:
            client_id, program = self._place(session, task)
            application = seen(session, client_id, self._clock(), lock=True)
            run = session.scalar(select(RunRecord).where(RunRecord.job == task).with_for_update())
            if run is None or run.status != DONE or witness not in application.witnesses:
                raise _unknown()
            earlier = next(
                (
                    row
                    for row in application.statements
                    if (row.program, row.witness) == (program, witness)
                ),
                None,
            )
            if earlier is not None:
                if (earlier.signature, earlier.refusal) == (signed, refusal):
                    return client_id
                raise AlreadySent("This witness has already made another statement on the run.")
            name = application.witnesses[witness]
            said = statement_of(application, self._public, run)
            if signed is not None:
                verify_statement(said, bytes.fromhex(witness), signed, name)
            row = {
                "client_id": client_id,
                "program": program,
                "witness": witness,
                "signature": signed,
                "refusal": refusal,
            }
            session.execute(insert(table_of(StatementRecord)), row)
            stated = {r.witness for r in application.statements if r.program == program}
            if {*stated, witness} >= set(application.witnesses):
                run.seed = None  # nobody needs it any more
            what = f"{'refused' if signed is None else 'signed'} {program}"
            note(session, client_id, self._clock(), (name, None), what, len(signed or b""))
            self._storage.announce(session, client_id)
            log_statement(self._storage, session, said, name, refusal, self._clock())
        return client_id

    def _open(
        self, session: Session, witness: str, task: str | None
    ) -> list[tuple[ApplicationView, RunRecord]]:
        """Return the open tasks of a witness with their applications: all, or the one named."""
        now = self._clock()
        wanted = (
            select(RunRecord)
            .join(ApplicationRecord, ApplicationRecord.client_id == RunRecord.client_id)
            .where(
                (RunRecord.status == RUNNING)
                | ((RunRecord.status == DONE) & RunRecord.seed.is_not(None)),
                ApplicationRecord.expires > now,
                ~select(StatementRecord.witness)
                .where(
                    StatementRecord.client_id == RunRecord.client_id,
                    StatementRecord.program == RunRecord.program,
                    StatementRecord.witness == witness,
                )
                .exists(),
            )
            .order_by(RunRecord.status == RUNNING, RunRecord.ended, RunRecord.started)
        )
        if task is not None:
            wanted = wanted.where(RunRecord.job == task)
        found = []
        for run in session.scalars(wanted):
            application = seen(session, run.client_id, now)
            if witness in application.witnesses:
                found.append((application, run))
        return found

    def _one(self, session: Session, witness: str, task: str) -> tuple[ApplicationView, RunRecord]:
        found = self._open(session, witness, task)
        if not found:
            raise _unknown()
        return found[0]

    def _place(self, session: Session, task: str) -> tuple[str, str]:
        found = session.execute(
            select(RunRecord.client_id, RunRecord.program).where(RunRecord.job == task)
        ).one_or_none()
        if found is None:
            raise _unknown()
        return found.client_id, found.program

    def _task(self, application: ApplicationView, run: RunRecord) -> WitnessTask:
        used = used_uploads(application, self._public, run.program)
        messages = tuple(
            WitnessMessage(party=party, file_name=file_name, bytes=upload.size)
            for (party, file_name), upload in used.items()
        )
        return WitnessTask(
            id=run.job or "",
            client_id=run.client_id,
            program=run.program,
            model_sha256=self._public.digest,
            messages=messages,
            done=run.status == DONE,
        )


def _unknown() -> UnknownName:
    return UnknownName("This witness has no such open task; it may have ended meanwhile.")
