"""The parties' permits for runs: accepted and spent, in the caller's transaction.

A party registers the public key of its permits when it joins. A permit is accepted if that key has
signed it for exactly the run that the server would make now: this application and program, the
loaded model, and the messages in the slots. Queuing a run spends one permit of every party whose
data it uses, in the same transaction, with the application's row locked: on any of several servers,
a permit counts for one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from engines.interface import PublicModel
from governance.canonical import digest
from governance.permits import Use, key_named_in, require_use, signed_by, verify
from governance.program_permits import covered_slots, parties_of, uses_of
from governance.request_state import PERMIT_SECONDS
from service.applications.base import ApplicationService
from service.applications.credentials import SEND, bearer_of
from service.applications.logged import log_permit, log_refused_permits
from service.applications.receipts import keep_receipt, receipt_of
from service.applications.rules import ACTIVE, permitted, require_model, run_of, seen, sha256_of
from service.applications.views import ApplicationView
from service.storage.prepared import Prepared
from service.storage.storage import Storage
from service.storage.tables import DONE, ApplicationRecord, PermitRecord, table_of
from utils.errors import (
    ConsentMissing,
    GovernanceError,
    OutOfStep,
    PermitInvalid,
    PermitSpent,
)

_PERMITS = table_of(PermitRecord)
_KNOWN = Prepared(
    select(_PERMITS.c.job).where(
        _PERMITS.c.client_id == bindparam("client_id"), _PERMITS.c.jti == bindparam("jti")
    )
)


@dataclass(frozen=True)
class Allowed:
    """Permits and consent receipts of one call; false if there are none."""

    permits: Sequence[str] = ()
    receipts: Sequence[Mapping[str, Any]] = ()

    def __bool__(self) -> bool:
        return bool(self.permits or self.receipts)


class Permits(ApplicationService):
    """The permits of all applications."""

    def give(
        self,
        client_id: str,
        token: str | None,
        texts: Sequence[str],
        receipts: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Accept permits and receipts, all or none, with any party's token of the scope `send`.

        The signature says whose permit or receipt it is. Raises ReceiptInvalid, PermitInvalid,
        PermitExpired, PermitSpent, OutOfStep if a message that a permit covers is missing,
        ForeignMessage, and the same errors for the id and the token as Applications.
        """
        now = self._clock()
        try:
            with self._storage.write() as session:
                application = seen(session, client_id, now, lock=True)
                bearer_of(application, token, SEND, now)
                require_model(application, self._public)
                allowed = Allowed(texts, receipts)
                if accept(self._storage, application, self._public, allowed, now):
                    self._storage.announce(session, client_id)
        except GovernanceError as error:
            log_refused_permits(self._storage, client_id, texts, error, now)
            raise


def accept(
    storage: Storage,
    application: ApplicationView,
    public: PublicModel,
    allowed: Allowed,
    now: float,
    *,
    repeated: bool = False,
) -> bool:
    """Verify permits and receipts, and store them; the application's row has to be locked.

    A permit replaces the earlier one of its party and program, if that has not been spent. One for
    a run that is under way or done is verified and dropped. Returns True if a party has a permit
    now that had none. `repeated` means that the request may be a repetition, so that permits that
    have been spent are ignored. Every permit that is stored gets an entry in the log. Raises as
    Permits.give does.
    """
    for receipt in allowed.receipts:
        keep_receipt(application, public, receipt)
    uses: dict[str, dict[str, Use]] = {}
    found = [
        _accept(storage, application, public, text, now, repeated, uses) for text in allowed.permits
    ]
    return any(found)


def spend(
    session: Session,
    application: ApplicationRecord,
    public: PublicModel,
    program: str,
    job: str,
    now: float,
) -> None:
    """Spend one permit of every party whose data the program uses for the run `job`.

    The application's row has to be locked. Raises ConsentMissing, which names the parties without
    a permit, and PermitSpent if one has been spent meanwhile.
    """
    needed = parties_of(public, program)
    found = _usable(session, application, public, program, now) if needed else {}
    lacking = [party for party in needed if party not in found]
    if lacking:
        raise ConsentMissing(
            f"{program} uses data of {', '.join(needed)}, and there is no valid permit of "
            f"{', '.join(lacking)}. A party's own process issues it once its person has agreed, "
            "and again before it expires: keep these processes running. A program of your own "
            "registers a key when it joins (`permit_key`) and gives a signed permit with POST "
            f"/applications/{application.client_id}/permits."
        )
    for jti in found.values():
        one = (_PERMITS.c.client_id == application.client_id) & (_PERMITS.c.jti == jti)
        spent = update(_PERMITS).where(one, _PERMITS.c.job.is_(None)).values(job=job)
        if session.execute(spent.returning(_PERMITS.c.jti)).one_or_none() is None:
            raise PermitSpent("A permit for this run has just been used; run it again.")


def remove_expired(storage: Storage, now: float) -> int:
    """Remove the permits that have expired without being spent; return their number."""
    over = _PERMITS.c.job.is_(None) & (_PERMITS.c.expires <= now)
    with storage.read() as session:  # so that an idle server does not write
        if session.scalar(select(_PERMITS.c.jti).where(over).limit(1)) is None:
            return 0
    with storage.write() as session:
        return len(session.scalars(delete(_PERMITS).where(over).returning(_PERMITS.c.jti)).all())


def _accept(
    storage: Storage,
    application: ApplicationView,
    public: PublicModel,
    text: str,
    now: float,
    repeated: bool,
    uses: dict[str, dict[str, Use]],
) -> bool:
    """Verify and store one permit; `uses` keeps the uses by program and party for the next one."""
    key = key_named_in(text)
    party = next((row.party for row in application.parties if row.permit_key == key), None)
    if party is None:
        raise PermitInvalid(
            "The permit is not signed with a key that a party has registered for this application; "
            "register it when joining, as `permit_key`."
        )
    permit = signed_by(text, bytes.fromhex(key))
    program = permit.evaluates
    if party not in parties_of(public, program):
        raise PermitInvalid(f"The server has no program {program} that uses data of {party}.")
    sha256 = sha256_of(application)
    missing = [": ".join(slot) for slot in covered_slots(public, program) if slot not in sha256]
    if missing:
        raise OutOfStep(
            f"A permit for {program} covers all its messages; still to be sent: "
            f"{', '.join(missing)}."
        )
    if program not in uses:
        uses[program] = uses_of(public, application.client_id, program, sha256)
    use = uses[program][party]
    require_use(permit, use, now)
    session, client_id = application.session, application.client_id
    known = _KNOWN.one_or_none(session, client_id=client_id, jti=permit.jti)
    if known is not None:
        if known.job is not None and not repeated:
            raise PermitSpent("This permit has been used for a run; issue a new one.")
        return False
    if run_of(application, program).status in (*ACTIVE, DONE):
        return False
    had = party in permitted(application, public, program, now)
    own = (_PERMITS.c.client_id == client_id) & (_PERMITS.c.party == party)
    earlier = own & (_PERMITS.c.program == program) & _PERMITS.c.job.is_(None)
    session.execute(delete(_PERMITS).where(earlier))
    receipt = receipt_of(session, client_id, party, program)
    row = {
        "client_id": client_id,
        "jti": permit.jti,
        "party": party,
        "program": program,
        "inputs_sha256": digest(dict(use.inputs or {})),
        # From now, in case the issuer's clock is ahead.
        "expires": min(float(permit.exp), now + PERMIT_SECONDS),
        "job": None,
        "text": text,
        "receipt_sha256": receipt.sha256,
        "request_sha256": receipt.request_sha256,
    }
    session.execute(insert(_PERMITS), row)
    log_permit(storage, session, client_id, public, (party, program, text), receipt, now)
    application.forget_permits()
    return not had


def _usable(
    session: Session,
    application: ApplicationRecord,
    public: PublicModel,
    program: str,
    now: float,
) -> dict[str, str]:
    """Return the ids of the permits for a run, by party, verified again for the run as it is."""
    rows = session.execute(
        select(_PERMITS.c.party, _PERMITS.c.jti, _PERMITS.c.text).where(
            _PERMITS.c.client_id == application.client_id,
            _PERMITS.c.program == program,
            _PERMITS.c.job.is_(None),
            _PERMITS.c.expires > now,
        )
    )
    keys = {row.party: row.permit_key for row in application.parties}
    uses = uses_of(public, application.client_id, program, sha256_of(application))
    found = {}
    for row in rows:
        try:
            verify(row.text, bytes.fromhex(keys[row.party] or ""), uses[row.party], now)
        except GovernanceError:  # a message or the model has changed since
            continue
        found[row.party] = row.jti
    return found
