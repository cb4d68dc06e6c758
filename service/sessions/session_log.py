"""Log entries that the owner of a session asks for, and the one use of each of its permits.

A use is marked in the transaction that logs it, under the lock of the log, so that of several
servers only one marks a permit, and a revocation comes either before a use or after it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, func, insert, select
from sqlalchemy.orm import Session

from contract.sessions import (
    LARGEST_EVENT_DETAILS,
    Logged,
    SessionEventRequest,
    SessionUseRequest,
)
from governance.canonical import KEY_PATTERN, canonical, digest
from governance.log.entries import Outcome
from governance.permits import Permit, require_time, signed_by, thumbprint
from service.governance.log import Event, record, user_of
from service.sessions.rows import require_open, row_of, side_of
from service.storage.prepared import Prepared
from service.storage.storage import LOG, Storage
from service.storage.tables import (
    SessionEntryRecord,
    SessionRevocationRecord,
    SessionUseRecord,
    table_of,
)
from settings import Settings
from utils.errors import (
    AlreadySent,
    ConsentMissing,
    ForbiddenScope,
    InvalidRequest,
    OutOfStep,
    PermitInvalid,
    PermitSpent,
    QuotaExceeded,
)

MOST_ENTRIES = 4096
"""Entries of the log that one session may ask for, uses included."""
OWNER_DIGITS = 32
REVOKED_SECONDS = 31 * 24 * 3600.0
"""Time for which a revocation is kept: longer than any session that exists when it is made."""
_DIGESTS = frozenset({"answer", "permit", "policy", "program", "receipt", "request", "result"})
_OUTCOMES: Mapping[str, tuple[str | None, ...]] = {
    "request": (None, "allowed", "denied"),
    "answer": ("allowed", "denied", "reduced", "paused", "resumed"),
    "permit": (None, "allowed", "denied", "failed"),
    "revocation": (None,),
}
"""The outcomes that an event of each kind may have."""
_ENTRIES, _USES = table_of(SessionEntryRecord), table_of(SessionUseRecord)
_REVOCATIONS = table_of(SessionRevocationRecord)
_OF_SESSION = _ENTRIES.c.session_id == bindparam("session_id")
_COUNTED = Prepared(select(func.count().label("count")).where(_OF_SESSION))
_EARLIER = Prepared(
    select(_ENTRIES).where(_OF_SESSION, _ENTRIES.c.idempotency_key == bindparam("key"))
)
_SPENT = Prepared(
    select(_USES).where(
        _USES.c.owner_key == bindparam("owner_key"), _USES.c.jti == bindparam("jti")
    )
)
_REVOKED = Prepared(
    select(_REVOCATIONS.c.request).where(
        _REVOCATIONS.c.owner_key == bindparam("owner_key"),
        _REVOCATIONS.c.request == bindparam("request"),
    )
)
_ADD_ENTRY, _ADD_USE = Prepared(insert(_ENTRIES)), Prepared(insert(_USES))


class _Asked(NamedTuple):
    """Something to log: the key under which it is repeated, and the digest of its content."""

    key: str
    sha256: str


def owner_id(key: str) -> str:
    """Return the id, in the log, of an owner that is known by a public key in hexadecimal only."""
    return f"owner:{hashlib.sha256(bytes.fromhex(key)).hexdigest()[:OWNER_DIGITS]}"


class SessionLog:
    """The log as the owners of sessions use it; the methods are synchronous and thread-safe.

    All raise UnknownName, NotAuthorised, ForbiddenScope for the institution's token, OutOfStep if
    nobody is connected or the session is over, QuotaExceeded, and LogInconsistent.
    """

    def __init__(
        self, storage: Storage, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage, self._clock = storage, clock
        self._users: dict[str, list[str]] = {}
        for user, agent in settings.owners.items():
            self._users.setdefault(agent.key, []).append(user)

    def person_of(self, owner_key: str) -> str:
        """Return the user id under which an owner is in the log.

        It is that of the settings if they have the key once, or made from the key.
        """
        named = self._users.get(owner_key, [])
        return named[0] if len(named) == 1 else owner_id(owner_key)

    def log(self, session_id: str, token: str | None, asked: SessionEventRequest) -> Logged:
        """Log an event about a request; after a revocation, no permit for its request is used.

        Raises InvalidRequest, and AlreadySent if another event had the same idempotency key.
        """
        _require_event(asked)
        content = asked.model_dump(mode="json", exclude={"idempotency_key"})
        # Checked before anything is locked or stored.
        asking = _Asked(asked.idempotency_key or secrets.token_hex(16), _digest(content))
        now = self._clock()
        with self._storage.write() as session:
            row = self._row(session, session_id, token, now)
            self._storage.lock(session, LOG)
            known = _earlier(session, session_id, asking)
            if known is not None:
                return Logged(entry=known)
            if asked.kind == "revocation":
                _revoke(session, row, asked.digests["request"], now)
            outcome: Outcome | None = "done" if asked.kind == "revocation" else asked.outcome
            event = self._event(row, asked.kind, outcome, asked.digests, asked.details, now)
            return Logged(entry=self._record(session, row, asking, event))

    def use(self, session_id: str, token: str | None, asked: SessionUseRequest) -> Logged:
        """Mark a permit as used, and log the use; of several calls for a permit, one succeeds.

        A call with the same idempotency key as that one returns its entry. Raises PermitInvalid,
        PermitExpired, PermitSpent, ConsentMissing if the request was revoked, and InvalidRequest.
        """
        now = self._clock()
        with self._storage.write() as session:
            row = self._row(session, session_id, token, now)
            self._storage.lock(session, LOG)
            permit = _permit_of(row, asked.permit)
            spent = _SPENT.one_or_none(session, owner_key=row.owner_key, jti=permit.jti)
            if spent is not None:
                return Logged(entry=_entry_again(spent, session_id, asked.idempotency_key))
            require_time(permit, now)
            _require_unrevoked(session, row, permit)
            entry = self._record(
                session,
                row,
                _Asked(secrets.token_hex(16), permit.jti),
                self._use_of(row, permit, asked, now),
            )
            _ADD_USE.run(
                session,
                owner_key=row.owner_key,
                jti=permit.jti,
                session_id=session_id,
                idempotency_key=asked.idempotency_key,
                entry=entry,
                expires=float(permit.exp),
            )
        return Logged(entry=entry)

    def _row(self, session: Session, session_id: str, token: str | None, now: float) -> Row[Any]:
        """Return the locked row of a connected session, for its owner's token."""
        # The row is locked before the log, whose holder waits for nothing else.
        row = row_of(session, session_id, lock=True)
        if side_of(row, token) != "owner":
            raise ForbiddenScope("Only the owner of the session has things logged.")
        if require_open(row, now) != "connected":
            raise OutOfStep("Nobody has connected to this session yet.")
        return row

    def _record(self, session: Session, row: Row[Any], asking: _Asked, event: Event) -> int:
        if _COUNTED.one_or_none(session, session_id=row.session_id).count >= MOST_ENTRIES:
            raise QuotaExceeded(
                f"The session has {MOST_ENTRIES} entries in the log, its maximum; host a new one."
            )
        entry = record(self._storage, session, event)
        _ADD_ENTRY.run(
            session,
            session_id=row.session_id,
            idempotency_key=asking.key,
            sha256=asking.sha256,
            entry=entry,
        )
        return entry

    def _use_of(self, row: Row[Any], permit: Permit, asked: SessionUseRequest, now: float) -> Event:
        digests = {
            "request": permit.sub,
            "permit": hashlib.sha256(asked.permit.encode()).hexdigest(),
            "receipt": asked.receipt,
        }
        if permit.program is not None:
            digests["program"] = permit.program
        details = {**asked.details, "action": permit.action, "fields": list(permit.fields)}
        return self._event(row, "use", "done", digests, details, now)

    def _event(
        self,
        row: Row[Any],
        kind: Any,
        outcome: Outcome | None,
        digests: Mapping[str, str],
        details: Mapping[str, Any],
        now: float,
    ) -> Event:
        user = self.person_of(row.owner_key)
        names = {"session_id": row.session_id, "partner_id": row.partner_id, "user_id": user}
        _require_details(details)
        return Event(
            kind,
            now,
            outcome,
            digests={name: [value] for name, value in digests.items()},
            names={"owner": (user,), "requester": (row.partner_id,)},
            person=user_of(user),
            details={**details, **names},
        )


def _require_event(asked: SessionEventRequest) -> None:
    """Raise InvalidRequest for an event that says nothing, or too much."""
    if not set(asked.digests) <= _DIGESTS:
        raise InvalidRequest(f"digests: their names are among {', '.join(sorted(_DIGESTS))}.")
    if "request" not in asked.digests:
        raise InvalidRequest("digests: name the request.")
    if asked.outcome not in _OUTCOMES[asked.kind]:
        known = ", ".join(each or "null" for each in _OUTCOMES[asked.kind])
        raise InvalidRequest(f"outcome: of this kind of event, it is one of {known}.")
    _require_details(asked.details)


def _require_details(details: Mapping[str, Any]) -> None:
    try:
        size = len(canonical(dict(details)))
    except ValueError as error:
        raise InvalidRequest(f"details: {error}.") from error
    if size > LARGEST_EVENT_DETAILS:
        raise InvalidRequest(f"details: send at most {LARGEST_EVENT_DETAILS} bytes.")


def _digest(content: Mapping[str, Any]) -> str:
    return digest(dict(content))


def _earlier(session: Session, session_id: str, asking: _Asked) -> int | None:
    """Return the entry of an earlier call with the same key; raises AlreadySent if it differs."""
    row = _EARLIER.one_or_none(session, session_id=session_id, key=asking.key)
    if row is None:
        return None
    if row.sha256 != asking.sha256:
        raise AlreadySent("Another event was logged with this idempotency key; choose a new one.")
    return int(row.entry)


def _revoke(session: Session, row: Row[Any], request: str, now: float) -> None:
    if _REVOKED.one_or_none(session, owner_key=row.owner_key, request=request) is None:
        revoked = {"owner_key": row.owner_key, "request": request}
        session.execute(insert(_REVOCATIONS), {**revoked, "expires": now + REVOKED_SECONDS})


def _permit_of(row: Row[Any], text: str) -> Permit:
    """Return the claims of the owner's permit for the connected partner; raises PermitInvalid."""
    permit = signed_by(text, bytes.fromhex(row.owner_key))
    key = thumbprint(bytes.fromhex(row.partner_key))
    if permit.cnf is None or not secrets.compare_digest(permit.cnf.jkt, key):
        raise PermitInvalid("The permit is for another requester than the connected partner.")
    if re.fullmatch(KEY_PATTERN, permit.sub) is None:
        raise PermitInvalid("The permit names no request: its claim sub is the request's digest.")
    return permit


def _entry_again(spent: Row[Any], session_id: str, key: str | None) -> int:
    same = key is not None and spent.idempotency_key is not None
    if (
        same
        and spent.session_id == session_id
        and secrets.compare_digest(str(key), spent.idempotency_key)
    ):
        return int(spent.entry)
    raise PermitSpent("This permit has been used already; issue a new one.")


def _require_unrevoked(session: Session, row: Row[Any], permit: Permit) -> None:
    revoked = _REVOKED.one_or_none(session, owner_key=row.owner_key, request=permit.sub)
    if revoked is not None:
        raise ConsentMissing("The owner has revoked this request; nothing may be computed for it.")
