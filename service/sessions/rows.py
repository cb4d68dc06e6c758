"""The row of a session: its state, its sides and their tokens."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from contract.http import moment
from contract.sessions import SessionFacts, SessionSide, SessionState
from service.storage.prepared import Prepared
from service.storage.tables import SessionRecord, table_of
from utils.errors import NotAuthorised, OutOfStep, UnknownName
from utils.tokens import matches

SESSIONS = table_of(SessionRecord)
_ONE = select(SESSIONS).where(SESSIONS.c.session_id == bindparam("session_id"))
_SEEN, _LOCKED = Prepared(_ONE), Prepared(_ONE.with_for_update())
_ANNOUNCED = "session "


def event_of(session_id: str) -> str:
    """Return the name under which changes of a session are announced."""
    return f"{_ANNOUNCED}{session_id}"


def is_session(name: str) -> bool:
    """Return True if a name of what has changed is that of a session."""
    return name.startswith(_ANNOUNCED)


def row_of(session: Session, session_id: str, *, lock: bool = False) -> Row[Any]:
    """Return a session's row, locked until the end of the transaction if `lock`.

    Raises UnknownName.
    """
    wanted = _LOCKED if lock else _SEEN
    row: Row[Any] | None = wanted.one_or_none(session, session_id=session_id)
    if row is None:
        raise UnknownName(
            "There is no session of this id: it was closed or has expired. The owner can host a "
            "new one."
        )
    return row


def side_of(row: Row[Any], token: str | None) -> SessionSide:
    """Return the side of a session whose token this is; raises NotAuthorised."""
    given = token or ""
    if matches(given, bytes(row.owner_digest)):
        return "owner"
    if row.institution_digest is not None and matches(given, bytes(row.institution_digest)):
        return "institution"
    raise NotAuthorised(
        "Send the token of this session: that of its owner from hosting it, or that of the "
        "institution from connecting to it."
    )


def state_of(row: Row[Any], now: float) -> SessionState:
    """Return the state of a session at a time in seconds since 1970."""
    if row.closed is not None:
        return "closed"
    if row.expires <= now:
        return "expired"
    return "waiting" if row.institution_digest is None else "connected"


def require_open(row: Row[Any], now: float) -> SessionState:
    """Return the state of a session that is waiting or connected; raises OutOfStep."""
    state = state_of(row, now)
    if state in ("closed", "expired"):
        happened = "was closed" if state == "closed" else "has expired"
        raise OutOfStep(f"The session {happened}. The owner can host a new one.")
    return state


def facts_of(row: Row[Any], now: float) -> SessionFacts:
    """Return a session as its two sides see it."""
    return SessionFacts(
        session_id=row.session_id,
        state=state_of(row, now),
        owner_key=row.owner_key,
        partner_id=row.partner_id,
        partner_type=row.partner_kind,
        partner_key=row.partner_key,
        expires_at=moment(row.expires),
    )
