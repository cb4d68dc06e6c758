"""The rows of a training and its members: state, tokens, and the texts of announcements."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from contract.trainings import TrainingState
from service.storage.prepared import Prepared
from service.storage.tables import (
    TrainingMemberRecord,
    TrainingMessageRecord,
    TrainingRecord,
    table_of,
)
from utils.errors import NotAuthorised, OutOfStep, UnknownName
from utils.tokens import digest, matches

TRAININGS = table_of(TrainingRecord)
MEMBERS = table_of(TrainingMemberRecord)
MESSAGES = table_of(TrainingMessageRecord)


class TrainingRow(NamedTuple):
    """A training without its coordinator's key."""

    training_id: str
    expires: float
    closed: float | None
    last_id: int


class MemberRow(NamedTuple):
    """The member whose token was sent."""

    name: str
    token_digest: bytes
    cursor: int
    room: int
    dropped: int
    last_number: int
    seen: float | None
    recent: bytes


_ONE = select(*(TRAININGS.c[name] for name in TrainingRow._fields)).where(
    TRAININGS.c.training_id == bindparam("training")
)
_TRAINING = Prepared(_ONE, TrainingRow)
_LOCKED = Prepared(_ONE.with_for_update(), TrainingRow)
_MEMBER = Prepared(
    select(*(MEMBERS.c[name] for name in MemberRow._fields)).where(
        MEMBERS.c.training_id == bindparam("training"),
        MEMBERS.c.token_digest == bindparam("digest"),
    ),
    MemberRow,
)


def training_of(session: Session, training_id: str, *, lock: bool = False) -> TrainingRow:
    """Return a training, locked until the end of the transaction if `lock`; raises UnknownName."""
    row: TrainingRow | None = (_LOCKED if lock else _TRAINING).one_or_none(
        session, training=training_id
    )
    if row is None:
        raise UnknownName(
            "There is no training of this id: it was closed or has expired. The coordinator can "
            "host a new one."
        )
    return row


def member_of(session: Session, training_id: str, token: str | None) -> MemberRow:
    """Return the member of a training whose token this is; raises NotAuthorised."""
    given = token or ""
    row: MemberRow | None = _MEMBER.one_or_none(session, training=training_id, digest=digest(given))
    if row is None or not matches(given, bytes(row.token_digest)):
        raise NotAuthorised(
            "Send the token of this training: the coordinator's from hosting it, or the member's "
            "from joining it."
        )
    return row


def state_of(row: TrainingRow | Row[Any], now: float) -> TrainingState:
    """Return the state of a training at a time in seconds since 1970."""
    if row.closed is not None:
        return "closed"
    return "expired" if row.expires <= now else "open"


def require_open(row: TrainingRow, now: float) -> None:
    """Raise OutOfStep if a training was closed or has expired."""
    state = state_of(row, now)
    if state != "open":
        happened = "was closed" if state == "closed" else "has expired"
        raise OutOfStep(f"The training {happened}. The coordinator can host a new one.")
