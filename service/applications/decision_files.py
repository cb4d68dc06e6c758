"""Decision files of finished runs: consent, permits, statement, log entry and proof in one file.

Everything is in the database already; a file is put together when a party asks for it. What it
says, `verify.py` checks offline (governance/log/decision_file.py).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from engines.interface import PROGRAMS
from governance.log.checkpoint import Checkpoint
from governance.log.decision_file import DecisionFile, Grant, Inclusion, SignedStatement
from governance.log.entries import Entry
from service.applications.base import ApplicationService
from service.applications.credentials import require_viewer
from service.applications.logged import permits_of, statement_of
from service.applications.rules import run_of, seen
from service.applications.views import ApplicationView, RunRow
from service.governance.log import DETAILS, ENTRIES, application_of
from service.governance.services import Governance
from service.storage.tables import DONE, ReceiptRecord, table_of
from utils.errors import OutOfStep, UnknownName

_RECEIPTS = table_of(ReceiptRecord)


class DecisionFiles(ApplicationService):
    """The decision files of all applications."""

    def file(
        self, client_id: str, token: str | None, program: str, governance: Governance
    ) -> DecisionFile:
        """Return the decision file of `decide`, `explain` or `reasons`.

        A party's token with the scope `read`, or the watch token. Raises UnknownName for another
        program, OutOfStep with advice as long as a part is missing, and the same errors for the id
        and the token as Applications.
        """
        if program not in PROGRAMS:
            raise UnknownName(f"A decision file is about one of {', '.join(PROGRAMS)}.")
        with self._storage.read() as session:
            now = self._clock()
            application = seen(session, client_id, now)
            require_viewer(application, token, now)
            run = run_of(application, program)
            if run.status != DONE:
                raise OutOfStep(f"{program} has not been computed yet; ask again when it is done.")
            grants = _grants(session, application, run)
            statement = self._statement(application, run)
            number, entry = _entry(session, run, statement.result)
            note = governance.checkpoints.covering(session, number)
        if note is None:
            raise OutOfStep(
                "No cosigner has signed a checkpoint of the log yet that includes this decision. "
                "Try again in a few seconds; if it stays so, ask the server's operator whether a "
                "witness is running."
            )
        proof = governance.log.inclusion(number, Checkpoint.parse(note.body).size)
        return DecisionFile(
            grants=tuple(grants),
            program=self._public.digest,
            statement=statement,
            entry=entry.to_json(),
            inclusion=Inclusion(index=number, hashes=tuple(proof.hashes)),
            checkpoint=note.text(),
        )

    def _statement(self, application: ApplicationView, run: RunRow) -> SignedStatement:
        """Return the statement with all signatures; raises OutOfStep if one is missing."""
        signatures = {
            bytes.fromhex(row.witness): row.signature
            for row in application.statements
            if row.program == run.program and row.signature is not None
        }
        missing = [
            name
            for key, name in application.witnesses.items()
            if bytes.fromhex(key) not in signatures
        ]
        if missing:
            raise OutOfStep(
                f"The witness {missing[0]} has not signed the result yet; try again later."
            )
        if not signatures:
            raise OutOfStep(
                "No witness checks this application, so that there is no decision file of it. Ask "
                "the server's operator for a witness (TRISEAL_WITNESSES), and open a new one."
            )
        return SignedStatement.of(statement_of(application, self._public, run), signatures)


def _grants(session: Session, application: ApplicationView, run: RunRow) -> list[Grant]:
    """Return the receipt and the permit of every party; raises OutOfStep if one is missing."""
    client_id = application.client_id
    own = (_RECEIPTS.c.client_id == client_id) & (_RECEIPTS.c.program == run.program)
    rows = session.execute(
        select(_RECEIPTS.c.party, _RECEIPTS.c.sha256, _RECEIPTS.c.document).where(own)
    ).all()
    receipts = {(row.party, row.sha256): row.document for row in rows}
    permits: Sequence[Any] = permits_of(session, run)
    missing = [p.party for p in permits if (p.party, p.receipt_sha256) not in receipts]
    if missing or not permits:
        raise OutOfStep(
            f"{', '.join(sorted(missing)) or 'The parties'} gave no consent receipt for this run, "
            "so that there is no decision file of it. Programs of your own give receipts with POST "
            f"/applications/{client_id}/permits."
        )
    return [
        Grant(receipt=json.loads(receipts[each.party, each.receipt_sha256]), permit=each.text)
        for each in sorted(permits, key=lambda each: str(each.party))
    ]


def _entry(session: Session, run: RunRow, result: str) -> tuple[int, Entry]:
    """Return the number and the entry of the run's use; raises OutOfStep if it is not there."""
    person = application_of(run.client_id)
    rows = session.execute(
        select(ENTRIES.c.number, ENTRIES.c.data)
        .join(DETAILS, DETAILS.c.number == ENTRIES.c.number)
        .where(DETAILS.c.person == person, ENTRIES.c.kind == "use", ENTRIES.c.outcome == DONE)
        .order_by(ENTRIES.c.number.desc())
    )
    for row in rows:
        entry = Entry.parse(bytes(row.data))
        if result in entry.digests.get("result", ()):
            return int(row.number), entry
    raise OutOfStep(f"The log has no entry of this run of {run.program}; try again.")
