"""Hosting, connecting to, reading and closing sessions.

An owner hosts a session by a call that is signed with any key of its own, and gives the code to one
institution over a channel that both trust. The server does not check who the owner is: the two
agents do, in their sealed messages. Tokens and codes are 256 random bits, stored as SHA-256.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from contract.http import moment
from contract.sessions import Connected, Hosted, SessionFacts
from service.governance.partners import Caller
from service.sessions.rows import (
    SESSIONS,
    event_of,
    facts_of,
    require_open,
    row_of,
    side_of,
    state_of,
)
from service.storage.storage import OPENING, Storage, even_when_full
from service.storage.tables import SessionRevocationRecord, SessionUseRecord, table_of
from settings import Settings
from utils.errors import AlreadySent, NotAuthorised, TooManyApplications
from utils.tokens import digest, matches, new_id, new_secret

FULL_SECONDS = 60.0
KEPT_SECONDS = 3600.0
"""Time for which a session that is over can still be read by its sides."""
SAFE_SECONDS = 3600.0
"""Time for which an expired use or revocation is kept, since clocks of servers may differ."""
_USES, _REVOCATIONS = table_of(SessionUseRecord), table_of(SessionRevocationRecord)


class Sessions:
    """All sessions of one database; the methods are synchronous and thread-safe.

    Methods that take a session's id raise UnknownName, and those that take a token NotAuthorised.
    """

    def __init__(
        self, storage: Storage, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage, self._clock = storage, clock
        self._most = settings.maximum_sessions

    def host(self, owner_key: str, call: str, hours: float) -> Hosted:
        """Make a session of the owner with this public key, in hexadecimal.

        `call` is the signature with which it was asked for. Raises TooManyApplications if the
        server's maximum is reached, DiskFull, and AlreadySent for a repeated call.
        """
        self._storage.require_disk()
        now = self._clock()
        expires = now + hours * 3600
        session_id, token, code = new_id(), new_secret(), new_secret()
        row = {
            "session_id": session_id,
            "owner_key": owner_key,
            "owner_digest": digest(token),
            "call_digest": hashlib.sha256(call.encode()).digest(),
            "code_digest": digest(code),
            "created": now,
            "expires": expires,
        }
        with self._storage.write() as session:
            self._storage.lock(session, OPENING)
            self._require_place(session, now)
            try:
                with session.begin_nested():
                    session.execute(insert(SESSIONS), row)
            except IntegrityError as error:
                raise AlreadySent(
                    "This signed call has already made a session. Sign a new call, with another "
                    "nonce, for another session."
                ) from error
        return Hosted(session_id=session_id, token=token, code=code, expires_at=moment(expires))

    def connect(self, session_id: str, partner: Caller, code: str) -> Connected:
        """Connect a partner by the session's code, which works once.

        Raises NotAuthorised for a wrong or used code, and OutOfStep if the session is over.
        """
        now, token = self._clock(), new_secret()
        with self._storage.write() as session:
            row = row_of(session, session_id, lock=True)
            require_open(row, now)
            if row.code_digest is None or not matches(code, bytes(row.code_digest)):
                raise NotAuthorised(
                    "The code is not that of this session, or was used already. Ask the owner for "
                    "the code of a new session."
                )
            connected = {
                "code_digest": None,
                "institution_digest": digest(token),
                "partner_id": partner.partner_id,
                "partner_kind": partner.kind,
                "partner_key": partner.key.hex(),
            }
            one = SESSIONS.c.session_id == session_id
            session.execute(update(SESSIONS).where(one).values(**connected))
            self._storage.announce(session, event_of(session_id))
        return Connected(
            session_id=session_id,
            token=token,
            owner_key=row.owner_key,
            expires_at=moment(row.expires),
        )

    def facts(self, session_id: str, token: str | None) -> SessionFacts:
        """Return a session, for the token of either side."""
        with self._storage.read() as session:
            row = row_of(session, session_id)
            side_of(row, token)
            return facts_of(row, self._clock())

    @even_when_full
    def close(self, session_id: str, token: str | None) -> None:
        """Close a session for both sides; closing it again is harmless."""
        now = self._clock()
        with self._storage.write() as session:
            row = row_of(session, session_id, lock=True)
            side_of(row, token)
            if state_of(row, now) in ("waiting", "connected"):
                one = SESSIONS.c.session_id == session_id
                session.execute(update(SESSIONS).where(one).values(closed=now, code_digest=None))
                self._storage.announce(session, event_of(session_id))

    @even_when_full
    def close_of(self, partner_id: str) -> list[str]:
        """Close the open sessions of a partner that was removed, and return their ids."""
        now = self._clock()
        with self._storage.write() as session:
            own = (SESSIONS.c.partner_id == partner_id) & SESSIONS.c.closed.is_(None)
            closed = update(SESSIONS).where(own).values(closed=now)
            gone = list(session.scalars(closed.returning(SESSIONS.c.session_id)))
            for session_id in gone:
                self._storage.announce(session, event_of(session_id))
        return gone

    @even_when_full
    def erase(self, owner_key: str) -> list[str]:
        """Remove all sessions of an owner with their messages, and return their ids.

        The ids of permits that were used are kept until these have expired.
        """
        soon = self._clock() + SAFE_SECONDS
        with self._storage.write() as session:
            own = delete(SESSIONS).where(SESSIONS.c.owner_key == owner_key)
            gone = list(session.scalars(own.returning(SESSIONS.c.session_id)))
            session.execute(
                update(_REVOCATIONS)
                .where(_REVOCATIONS.c.owner_key == owner_key, _REVOCATIONS.c.expires > soon)
                .values(expires=soon)
            )
            for session_id in gone:
                self._storage.announce(session, event_of(session_id))
        return gone

    def _require_place(self, session: Session, now: float) -> None:
        held = select(func.count()).where(SESSIONS.c.closed.is_(None), SESSIONS.c.expires > now)
        if (session.scalar(held) or 0) >= self._most:
            raise TooManyApplications(
                f"The server has {self._most} open sessions, its maximum "
                "(TRISEAL_MAXIMUM_SESSIONS); try again when some have been closed or have expired.",
                FULL_SECONDS,
            )


def remove_old_sessions(storage: Storage, now: float) -> int:
    """Remove sessions that have been over for a while, and expired uses and revocations.

    Returns the number of removed sessions.
    """
    over = (SESSIONS.c.expires <= now - KEPT_SECONDS) | (SESSIONS.c.closed <= now - KEPT_SECONDS)
    used = _USES.c.expires <= now - SAFE_SECONDS
    revoked = _REVOCATIONS.c.expires <= now - SAFE_SECONDS
    with storage.read() as session:  # so that an idle server does not write
        found = (
            session.scalar(select(SESSIONS.c.session_id).where(over).limit(1)),
            session.scalar(select(_USES.c.jti).where(used).limit(1)),
            session.scalar(select(_REVOCATIONS.c.request).where(revoked).limit(1)),
        )
    if not any(found):
        return 0
    with storage.write() as session:
        session.execute(delete(_USES).where(used))
        session.execute(delete(_REVOCATIONS).where(revoked))
        gone = delete(SESSIONS).where(over).returning(SESSIONS.c.session_id)
        return len(session.scalars(gone).all())
