"""The policy gateway: permits for partners that ask for fields of a user's record.

A partner asks, the policy decides in the context of the user's consent and of the partner's earlier
uses, and the decision is logged in the transaction that stores the permit. The partner takes the
permit to the agent of the data's owner, which has the server mark it as used before it releases
anything: on any of several servers, a permit counts once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from contract.governance import Authorized, AuthorizeRequest, Spent
from contract.http import moment
from governance.access import SECONDS_PER_DAY, SECONDS_PER_HOUR, Access, Partner, Verdict
from governance.canonical import canonical, digest
from governance.log.entries import pseudonym
from governance.permits import Permit, Use, issue, require_time, signed_by
from governance.policy import Policies
from service.governance.consents import consent_of
from service.governance.log import ENTRIES, Event, record, user_of
from service.governance.partners import Caller
from service.governance.policies import PolicyKeeper
from service.storage.prepared import Prepared
from service.storage.storage import LOG, Storage
from service.storage.tables import GivenPermitRecord, table_of
from settings import OwnerAgent, Settings
from utils.errors import (
    ConsentMissing,
    ForbiddenScope,
    InvalidRequest,
    NotAuthorised,
    PermitExpired,
    PermitSpent,
    PolicyDenied,
)
from utils.tokens import new_id

ISSUER = "urn:triseal:server"
SCHEMA = "personal_record"
"""The schema of the records that partners ask for."""
DATA_SET = "record"
_GIVEN = table_of(GivenPermitRecord)
_COUNTED = Prepared(
    select(
        func.count().filter(ENTRIES.c.at >= bindparam("hour")).label("of_hour"),
        func.count().label("of_day"),
    ).where(
        ENTRIES.c.kind == "decision",
        ENTRIES.c.requester == bindparam("requester"),
        ENTRIES.c.outcome == "allowed",
        ENTRIES.c.at >= bindparam("day"),
    )
)
"""The numbers of allowed uses of a requester since the beginning of an hour, and of its day."""
_ADD_PERMIT = Prepared(insert(_GIVEN))
_PERMIT = Prepared(select(_GIVEN).where(_GIVEN.c.jti == bindparam("jti")))
_SPEND = Prepared(
    update(_GIVEN).where(_GIVEN.c.jti == bindparam("permit")).values(spent=bindparam("now"))
)


class Gateway:
    """Decides about partners' requests; the methods are synchronous and thread-safe."""

    def __init__(
        self,
        storage: Storage,
        settings: Settings,
        policies: PolicyKeeper,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage, self._policies, self._clock = storage, policies, clock
        self._owners: Mapping[str, OwnerAgent] = settings.owners

    def owner_keys(self) -> dict[str, str]:
        """Return the public keys of the owners' agents, in hexadecimal, by user id."""
        return {user: agent.key for user, agent in self._owners.items()}

    def authorize(self, caller: Caller, asked: AuthorizeRequest) -> Authorized:
        """Return a permit for what a partner asked for; the decision is logged in any case.

        Raises ForbiddenScope for another partner's id, ConsentMissing if no agent of the user is
        known, PolicyDenied with the rule that denied, and InvalidRequest.
        """
        if asked.partner_id != caller.partner_id:
            raise ForbiddenScope("The token is that of another partner than partner_id.")
        now, request_id = self._clock(), new_id()
        agent = self._owners.get(asked.user_id)
        if agent is None:
            self._refuse_unknown(caller, asked, request_id, now)
        access, policies, verdict = self._first(caller, asked, now)
        with self._storage.write() as session:
            self._storage.lock(session, LOG)
            # Consent, uses and policy may have changed since, which the lock now prevents.
            latest = self._policies.current(session)
            again = self._access(session, caller, asked, latest, now, access.fields)
            if again != access or latest.version != policies.version:
                access, verdict = _judged(latest, again, asked)
            given = self._log_decision(session, caller, asked, (request_id, access, verdict), now)
        if given is None or agent is None:
            rule = verdict.rules[0] if verdict.rules else ""
            raise PolicyDenied(verdict.in_words(), reason=verdict.reason, policy_violation=rule)
        masks = {} if verdict.obligations is None else verdict.obligations.masks
        return Authorized(
            request_id=request_id,
            token=given,
            exchange_host=agent.host,
            exchange_port=agent.port,
            expires_in=asked.expires_in,
            expires_at=moment(int(now) + asked.expires_in),
            data_segments=list(access.fields),
            masking_applied={field: mask.kind for field, mask in masks.items()},
        )

    def spend(self, owner_key: str, token: str, receipt: str | None) -> Spent:
        """Mark a permit as used, for the agent of its owner, and log the use.

        Raises PermitInvalid, PermitExpired, PermitSpent, and NotAuthorised if the caller is another
        owner's agent.
        """
        now = self._clock()
        permit = signed_by(token, self._storage.log_keys.permit_public)
        agent = self._owners.get(permit.aud)
        if permit.iss != ISSUER or agent is None or agent.key != owner_key:
            raise NotAuthorised("The permit is for the data of another owner.")
        require_time(permit, now)
        with self._storage.write() as session:
            self._storage.lock(session, LOG)
            row = _PERMIT.one_or_none(session, jti=permit.jti)
            if row is None:
                raise ConsentMissing("The user has withdrawn the consent to this use.")
            if row.spent is not None:
                raise PermitSpent("This permit has been used already; ask for a new one.")
            if row.expires <= now:
                raise PermitExpired("The permit has expired; ask for a new one.")
            _SPEND.run(session, permit=permit.jti, now=now)
            entry = record(self._storage, session, _use_of(permit, row, token, receipt, now))
        return Spent(
            request_id=row.request_id,
            partner_id=row.partner_id,
            purpose=row.purpose,
            entry=entry,
            fields=list(permit.fields),
            masks=dict(permit.masks),
        )

    def _first(
        self, caller: Caller, asked: AuthorizeRequest, now: float
    ) -> tuple[Access, Policies, Verdict]:
        """Return the verdict before the log is locked, since finding alternatives takes a while."""
        with self._storage.read() as session:
            policies = self._policies.current(session)
            access = self._access(session, caller, asked, policies, now, None)
        access, verdict = _judged(policies, access, asked)
        return access, policies, verdict

    def _access(
        self,
        session: Session,
        caller: Caller,
        asked: AuthorizeRequest,
        policies: Policies,
        now: float,
        fields: tuple[str, ...] | None,
    ) -> Access:
        known = policies.files.maps.get(SCHEMA)
        every = tuple(known.fields) if known is not None else ()
        alias = pseudonym(self._storage.log_keys.pseudonyms, "requester", caller.partner_id)
        seconds = int(now)
        this_hour, this_day = _uses(
            session,
            alias,
            seconds - seconds % SECONDS_PER_HOUR,
            seconds - seconds % SECONDS_PER_DAY,
        )
        try:
            return Access(
                # The permit can be redeemed only with the registered key.
                partner=Partner.model_validate(
                    {"id": caller.partner_id, "type": caller.kind, "verified": True}
                ),
                action="release",
                data_set=DATA_SET,
                schema_name=SCHEMA,
                fields=fields or tuple(asked.requested_data or every),
                purpose=asked.purpose,
                consent=consent_of(session, asked.user_id, caller.partner_id, asked.purpose),
                time=seconds,
                uses_this_hour=this_hour,
                uses_this_day=this_day,
            )
        except ValidationError as error:
            first = error.errors()[0]
            where = str(first["loc"][0]) if first["loc"] else "request"
            raise InvalidRequest(f"{where}: {first['msg'][:1000]}.") from None

    def _log_decision(
        self,
        session: Session,
        caller: Caller,
        asked: AuthorizeRequest,
        decided: tuple[str, Access, Verdict],
        now: float,
    ) -> str | None:
        """Log a decision; if it allows the use, store and return the permit."""
        request_id, access, verdict = decided
        document: dict[str, Any] = {
            "request_id": request_id,
            "partner_id": caller.partner_id,
            "user_id": asked.user_id,
            "purpose": asked.purpose,
            "fields": list(access.fields),
            "at": int(now),
        }
        request = digest(document)
        details = {**document, "rules": list(verdict.rules), "reason": verdict.reason[:2000]}
        digests = {"request": [request], "policy": [verdict.policy_version]}
        token = None
        if verdict.allowed and verdict.obligations is not None:
            masks = {
                field: canonical(mask.model_dump(mode="json")).decode()
                for field, mask in verdict.obligations.masks.items()
            }
            use = Use(
                iss=ISSUER,
                sub=request,
                aud=asked.user_id,
                action="release",
                fields=access.fields,
                masks=masks,
                requester=caller.key,
            )
            jti = new_id()
            token = issue(self._storage.log_keys.permits, use, now, asked.expires_in, jti)
            digests["permit"] = [_sha256(token)]
            _ADD_PERMIT.run(
                session,
                jti=jti,
                user_id=asked.user_id,
                partner_id=caller.partner_id,
                purpose=asked.purpose,
                request_id=request_id,
                expires=float(int(now) + asked.expires_in),
                spent=None,
            )
        event = Event(
            "decision",
            now,
            "allowed" if token else "denied",
            digests=digests,
            names={"owner": (asked.user_id,), "requester": (caller.partner_id,)},
            person=user_of(asked.user_id),
            details=details,
        )
        record(self._storage, session, event)
        return token

    def _refuse_unknown(
        self, caller: Caller, asked: AuthorizeRequest, request_id: str, now: float
    ) -> None:
        """Log that a user is unknown, without the name, which may be any text; raise."""
        request = digest({**asked.model_dump(mode="json"), "request_id": request_id})
        event = Event(
            "decision",
            now,
            "denied",
            digests={"request": [request]},
            names={"requester": (caller.partner_id,)},
        )
        with self._storage.write() as session:
            record(self._storage, session, event)
        raise ConsentMissing(
            "No agent of this user is registered, so nobody can consent. The user has to connect "
            "an agent to this server first (TRISEAL_OWNERS)."
        )


def remove_expired_permits(storage: Storage, now: float) -> int:
    """Remove the given permits that have expired; return their number."""
    over = _GIVEN.c.expires <= now
    with storage.read() as session:  # so that an idle server does not write
        if session.scalar(select(_GIVEN.c.jti).where(over).limit(1)) is None:
            return 0
    with storage.write() as session:
        return len(session.scalars(delete(_GIVEN).where(over).returning(_GIVEN.c.jti)).all())


def _judged(policies: Policies, access: Access, asked: AuthorizeRequest) -> tuple[Access, Verdict]:
    """Return the verdict; if no fields were named, about those that are allowed together."""
    if asked.requested_data is None:
        fields = policies.allowed_fields(access) or access.fields
        access = access.model_copy(update={"fields": fields})
    return access, policies.decide(access)


def _uses(session: Session, requester: str, hour: int, day: int) -> tuple[int, int]:
    """Return the numbers of allowed uses since two times, the later one first."""
    row = _COUNTED.one_or_none(session, requester=requester, hour=hour, day=day)
    return row.of_hour, row.of_day


def _use_of(permit: Permit, row: Any, token: str, receipt: str | None, now: float) -> Event:
    digests = {"request": [permit.sub], "permit": [_sha256(token)]}
    if receipt is not None:
        digests["receipt"] = [receipt]
    return Event(
        "use",
        now,
        "done",
        digests=digests,
        names={"owner": (permit.aud,), "requester": (row.partner_id,)},
        person=user_of(permit.aud),
        details={
            "request_id": row.request_id,
            "partner_id": row.partner_id,
            "user_id": permit.aud,
            "purpose": row.purpose,
            "fields": list(permit.fields),
        },
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
