"""The messages of sessions, which the server stores unchanged and cannot read.

Each side numbers its messages from 1. A message waits until the other side asks for those after it,
which confirms that it has arrived; then its body is removed. A message may be posted again, for the
case that the response was lost, as long as the server has its digest.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from contract.sessions import (
    LARGEST_SESSION_MESSAGE,
    MOST_SESSION_MESSAGES,
    SessionMessage,
    SessionMessages,
    SessionSide,
)
from service.sessions.rows import SESSIONS, event_of, require_open, row_of, side_of, state_of
from service.storage.prepared import Prepared
from service.storage.storage import Storage
from service.storage.tables import SessionMessageRecord, table_of
from utils.errors import (
    AlreadySent,
    OutOfStep,
    QuotaExceeded,
    UploadEmpty,
    UploadTooLarge,
)

MOST_WAITING = 128
"""Messages of one side that wait for the other."""
MOST_WAITING_BYTES = 8 << 20
MOST_AT_ONCE = 2 << 20
"""Bytes of the messages in one response, if there is more than one."""
KEPT_DIGESTS = 64
"""Last messages of a side whose digests are kept, to recognise repetitions."""

_MESSAGES = table_of(SessionMessageRecord)
_OF_SENDER = (_MESSAGES.c.session_id == bindparam("of_session")) & (
    _MESSAGES.c.sender == bindparam("side")
)
_WITH_BODY = _MESSAGES.c.body.is_not(None)
_ARRIVED = _OF_SENDER & (_MESSAGES.c.number <= bindparam("after")) & _WITH_BODY
_NEWER = _OF_SENDER & (_MESSAGES.c.number > bindparam("after")) & _WITH_BODY
_INSERT = Prepared(insert(_MESSAGES))
_COUNT = {
    side: Prepared(
        update(SESSIONS)
        .where(SESSIONS.c.session_id == bindparam("of_session"))
        .values({column: bindparam("last")})
    )
    for side, column in (
        ("owner", SESSIONS.c.owner_number),
        ("institution", SESSIONS.c.institution_number),
    )
}
_FORGET_DIGESTS = Prepared(
    delete(_MESSAGES).where(
        _OF_SENDER, _MESSAGES.c.body.is_(None), _MESSAGES.c.number <= bindparam("old")
    )
)
_DIGEST = Prepared(
    select(_MESSAGES.c.sha256).where(_OF_SENDER, _MESSAGES.c.number == bindparam("number"))
)
_WAITING = Prepared(
    select(
        func.count().label("count"),
        func.coalesce(func.sum(_MESSAGES.c.size), 0).label("total"),
    ).where(_OF_SENDER, _WITH_BODY)
)
_ANY_ARRIVED = Prepared(select(_MESSAGES.c.number).where(_ARRIVED).limit(1))
_REMOVE_ARRIVED = Prepared(update(_MESSAGES).where(_ARRIVED).values(body=None, size=0))
_SIZES = Prepared(
    select(_MESSAGES.c.number, _MESSAGES.c.size)
    .where(_NEWER)
    .order_by(_MESSAGES.c.number)
    .limit(MOST_SESSION_MESSAGES)
)
_BODIES = Prepared(
    select(_MESSAGES.c.number, _MESSAGES.c.body)
    .where(_NEWER, _MESSAGES.c.number <= bindparam("last"))
    .order_by(_MESSAGES.c.number)
)
_OTHER: dict[SessionSide, SessionSide] = {"owner": "institution", "institution": "owner"}


class SessionRelay:
    """The messages of all sessions; the methods are synchronous and thread-safe.

    All raise UnknownName and NotAuthorised.
    """

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.time) -> None:
        self._storage, self._clock = storage, clock

    def post(self, session_id: str, token: str | None, number: int, body: bytes) -> int:
        """Store the message of this number from the token's side; return the number.

        Posting the same again is harmless. Raises OutOfStep if the session is over or an earlier
        message is missing, AlreadySent for other bytes under this number, QuotaExceeded if too much
        waits for the other side, UploadEmpty, UploadTooLarge, and DiskFull.
        """
        if not body:
            raise UploadEmpty("The message is empty; nothing was stored.")
        if len(body) > LARGEST_SESSION_MESSAGE:
            raise UploadTooLarge(
                f"The message is larger than {LARGEST_SESSION_MESSAGE} bytes; nothing was stored."
            )
        self._storage.require_disk(len(body))
        sha256 = hashlib.sha256(body).digest()
        with self._storage.write() as session:
            row = row_of(session, session_id, lock=True)
            side = side_of(row, token)
            require_open(row, self._clock())
            last = row.owner_number if side == "owner" else row.institution_number
            own = {"of_session": session_id, "side": side}
            if number <= last:
                _require_same(session, own, number, sha256)
                return number
            if number > last + 1:
                raise OutOfStep(f"The next message of this side is number {last + 1}.")
            _require_waiting(session, own, len(body))
            _INSERT.run(
                session,
                session_id=session_id,
                sender=side,
                number=number,
                sha256=sha256,
                size=len(body),
                body=body,
            )
            _COUNT[side].run(session, of_session=session_id, last=number)
            _FORGET_DIGESTS.run(session, **own, old=number - KEPT_DIGESTS)
            self._storage.announce(session, event_of(session_id))
        return number

    def read(self, session_id: str, token: str | None, after: int) -> SessionMessages:
        """Return the other side's messages above a number, in order, and the session's state.

        The bodies of those up to the number are removed, since they have arrived. Messages of a
        session that is over can still be read for a while.
        """
        with self._storage.read() as session:
            row = row_of(session, session_id)
            sender = _OTHER[side_of(row, token)]
            theirs = {"of_session": session_id, "side": sender}
            confirms = (
                after > 0 and _ANY_ARRIVED.one_or_none(session, **theirs, after=after) is not None
            )
            found = _waiting(session, theirs, after)
            state = state_of(row, self._clock())
        if confirms:
            with self._storage.write() as session:
                row_of(session, session_id, lock=True)
                _REMOVE_ARRIVED.run(session, **theirs, after=after)
        return SessionMessages(state=state, items=found)


def _waiting(session: Session, theirs: Mapping[str, str], after: int) -> list[SessionMessage]:
    """Return messages above `after`, at most as many as a response may have."""
    last, total = after, 0
    for each in _SIZES.all(session, **theirs, after=after):
        total += each.size
        if total > MOST_AT_ONCE and last > after:
            break
        last = each.number
    if last == after:
        return []
    return [_shown(row) for row in _BODIES.all(session, **theirs, after=after, last=last)]


def _shown(row: Row[Any]) -> SessionMessage:
    return SessionMessage(number=row.number, body=base64.b64encode(bytes(row.body)).decode())


def _require_same(session: Session, own: Mapping[str, str], number: int, sha256: bytes) -> None:
    """Raise AlreadySent unless the stored message of this number has this digest."""
    known = _DIGEST.one_or_none(session, **own, number=number)
    if known is None or not hmac.compare_digest(bytes(known.sha256), sha256):
        raise AlreadySent(f"This side has already sent another message as number {number}.")


def _require_waiting(session: Session, own: Mapping[str, str], size: int) -> None:
    """Raise QuotaExceeded if the messages of a side that wait would be too many or too large."""
    count, total = _WAITING.one_or_none(session, **own)
    if count >= MOST_WAITING or total + size > MOST_WAITING_BYTES:
        raise QuotaExceeded(
            f"{count} messages wait for the other side, which has not fetched them. Send this one "
            "again when it is back."
        )
