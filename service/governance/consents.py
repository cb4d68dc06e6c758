"""Users' decisions on partners and purposes, from signed requests of their agents."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import Session

from governance.access import Consent
from governance.canonical import digest
from governance.purposes import PURPOSES
from service.governance.log import PEOPLE, Event, record, record_erasure, user_of
from service.storage.prepared import Prepared
from service.storage.storage import LOG, Storage
from service.storage.tables import ConsentRecord, GivenPermitRecord, table_of
from utils.errors import InvalidRequest, OutOfStep

AHEAD_SECONDS = 60
"""Seconds by which the clock of an owner's agent may be ahead."""
_CONSENTS, _GIVEN = table_of(ConsentRecord), table_of(GivenPermitRecord)
_STATE = Prepared(
    select(_CONSENTS.c.state).where(
        _CONSENTS.c.user_id == bindparam("user_id"),
        _CONSENTS.c.partner_id == bindparam("partner_id"),
        _CONSENTS.c.purpose == bindparam("purpose"),
    )
)


class Consents:
    """The consents of all users; the methods are synchronous and thread-safe."""

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.time) -> None:
        self._storage, self._clock = storage, clock

    def say(
        self, user_id: str, partner_id: str, purpose: str, *, granted: bool, signed_at: int
    ) -> None:
        """Store what a user said, and log it; the newest statement counts, by `signed_at`.

        `signed_at` is in milliseconds since 1970. A revocation also revokes the permits that have
        not been used. Saying the same again is harmless. Raises InvalidRequest for an unknown
        purpose or a time in the future, and OutOfStep for a statement that is not newer than the
        stored one, so that a captured request cannot be repeated.
        """
        if purpose not in PURPOSES:
            raise InvalidRequest(f"purpose: it must be one of {', '.join(PURPOSES)}.")
        if signed_at > (self._clock() + AHEAD_SECONDS) * 1000:
            raise InvalidRequest("signed_at: it is in the future; set the clocks.")
        state = "granted" if granted else "revoked"
        one = (
            (_CONSENTS.c.user_id == user_id)
            & (_CONSENTS.c.partner_id == partner_id)
            & (_CONSENTS.c.purpose == purpose)
        )
        key = {"user_id": user_id, "partner_id": partner_id, "purpose": purpose}
        with self._storage.write() as session:
            self._storage.lock(session, LOG)
            known = session.execute(select(_CONSENTS).where(one)).one_or_none()
            if known is not None and known.signed_at >= signed_at:
                if (known.state, known.signed_at) == (state, signed_at):
                    return
                raise OutOfStep("The user has said something newer about this partner and purpose.")
            session.execute(delete(_CONSENTS).where(one))
            session.execute(insert(_CONSENTS), {**key, "state": state, "signed_at": signed_at})
            if not granted:
                unused = (
                    (_GIVEN.c.user_id == user_id)
                    & (_GIVEN.c.partner_id == partner_id)
                    & (_GIVEN.c.purpose == purpose)
                    & _GIVEN.c.spent.is_(None)
                )
                session.execute(delete(_GIVEN).where(unused))
            said = {**key, "state": state, "signed_at": signed_at}
            event = Event(
                "answer" if granted else "revocation",
                self._clock(),
                "allowed" if granted else "done",
                names={"owner": (user_id,), "requester": (partner_id,)},
                digests={"answer": [digest(said)]},
                person=user_of(user_id),
                details=said,
            )
            record(self._storage, session, event)

    def erase(self, user_id: str, *, only_known: bool = False) -> None:
        """Erase a user's consents and unused permits, and the key of all logged details.

        Erasing a user of whom nothing is kept is harmless, and logged too, unless `only_known`.
        """
        known = select(PEOPLE.c.person).where(PEOPLE.c.person == user_of(user_id))
        with self._storage.write() as session:
            self._storage.lock(session, LOG)
            if only_known and session.scalar(known) is None:
                return
            session.execute(delete(_CONSENTS).where(_CONSENTS.c.user_id == user_id))
            session.execute(delete(_GIVEN).where(_GIVEN.c.user_id == user_id))
            record_erasure(self._storage, session, user_of(user_id), user_id, self._clock())
        self._storage.scrub()


def consent_of(session: Session, user_id: str, partner_id: str, purpose: str) -> Consent:
    """Return the state of a user's consent, in the policy's words."""
    row = _STATE.one_or_none(session, user_id=user_id, partner_id=partner_id, purpose=purpose)
    if row is None:
        return "asked"
    return "given" if row.state == "granted" else "revoked"
