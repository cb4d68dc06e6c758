"""Hosting, joining, reading and closing trainings of several lenders.

A coordinator hosts a training by a call that is signed with any key of its own, and gives each
member its code over a channel that both trust. The server does not check who they are: the members
and the coordinator do, in their sealed messages. Tokens and codes are 256 random bits, stored as
SHA-256.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from contract.http import moment
from contract.trainings import (
    COORDINATOR,
    TrainingFacts,
    TrainingHosted,
    TrainingJoined,
    TrainingMember,
)
from service.storage.storage import OPENING, Storage, even_when_full
from service.trainings.arrivals import News
from service.trainings.rows import (
    MEMBERS,
    TRAININGS,
    member_of,
    require_open,
    state_of,
    training_of,
)
from settings import Settings
from utils.errors import AlreadySent, ForbiddenScope, NotAuthorised, TooManyApplications
from utils.tokens import digest, matches, new_id, new_secret

FULL_SECONDS = 60.0
KEPT_SECONDS = 3600.0
"""Time for which a training that is over can still be read by its members."""


class Trainings:
    """All trainings of one database; the methods are synchronous and thread-safe.

    Methods that take a training's id raise UnknownName, those that take a token NotAuthorised.
    """

    def __init__(
        self, storage: Storage, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage, self._clock = storage, clock
        self._most = settings.maximum_trainings

    def host(
        self, coordinator_key: str, call: str, members: Sequence[str], hours: float
    ) -> TrainingHosted:
        """Make a training of the coordinator with this public key, in hexadecimal.

        `call` is the signature with which it was asked for. Raises TooManyApplications if the
        server's maximum is reached, DiskFull, and AlreadySent for a repeated call.
        """
        self._storage.require_disk()
        now = self._clock()
        expires = now + hours * 3600
        training_id, token = new_id(), new_secret()
        codes = {name: new_secret() for name in members}
        row = {
            "training_id": training_id,
            "coordinator_key": coordinator_key,
            "call_digest": hashlib.sha256(call.encode()).digest(),
            "created": now,
            "expires": expires,
        }
        own = {"name": COORDINATOR, "code_digest": None, "token_digest": digest(token)}
        others = [
            {"name": name, "code_digest": digest(code), "token_digest": None}
            for name, code in codes.items()
        ]
        rows = [
            {"training_id": training_id, "position": position, **member}
            for position, member in enumerate([own, *others])
        ]
        with self._storage.write() as session:
            self._storage.lock(session, OPENING)
            self._require_place(session, now)
            try:
                with session.begin_nested():
                    session.execute(insert(TRAININGS), row)
            except IntegrityError as error:
                raise AlreadySent(
                    "This signed call has already made a training. Sign a new call, with another "
                    "nonce, for another training."
                ) from error
            session.execute(insert(MEMBERS), rows)
        return TrainingHosted(
            training_id=training_id, token=token, codes=codes, expires_at=moment(expires)
        )

    def join(self, training_id: str, member: str, code: str) -> TrainingJoined:
        """Return a token of a member by its code, which works until the member has posted.

        A member that was killed before it stored its token can therefore join again; the token of
        an earlier call no longer counts. Raises NotAuthorised for a wrong or used code or name, and
        OutOfStep after the end.
        """
        now, token = self._clock(), new_secret()
        with self._storage.write() as session:
            training = training_of(session, training_id, lock=True)
            require_open(training, now)
            names = _members(session, training_id)
            unused = {row.name: row.code_digest for row in names if not row.last_number}
            stored = unused.get(member)
            if stored is None or not matches(code, bytes(stored)):
                raise NotAuthorised(
                    "The code is not that of this member of this training, or was used already. "
                    "Ask the coordinator for a new training if the code was used by somebody else."
                )
            one = (MEMBERS.c.training_id == training_id) & (MEMBERS.c.name == member)
            joined = {"token_digest": digest(token), "seen": now}
            session.execute(update(MEMBERS).where(one).values(**joined))
            self._storage.announce(session, News(training_id).text())
        return TrainingJoined(
            token=token,
            members=[row.name for row in names if row.name != COORDINATOR],
            expires_at=moment(training.expires),
        )

    def facts(self, training_id: str, token: str | None) -> TrainingFacts:
        """Return a training, for the token of any member."""
        with self._storage.read() as session:
            training = training_of(session, training_id)
            member_of(session, training_id, token)
            key = session.scalar(
                select(TRAININGS.c.coordinator_key).where(TRAININGS.c.training_id == training_id)
            )
            members = _members(session, training_id)
        return TrainingFacts(
            training_id=training_id,
            state=state_of(training, self._clock()),
            coordinator_key=str(key),
            members=[
                TrainingMember(
                    name=row.name,
                    joined=row.token_digest is not None,
                    seen_at=None if row.seen is None else moment(row.seen),
                )
                for row in members
            ],
            expires_at=moment(training.expires),
        )

    @even_when_full
    def close(self, training_id: str, token: str | None) -> None:
        """Close a training for all, with the coordinator's token; closing again is harmless.

        Raises ForbiddenScope for the token of another member.
        """
        now = self._clock()
        with self._storage.write() as session:
            training = training_of(session, training_id, lock=True)
            if member_of(session, training_id, token).name != COORDINATOR:
                raise ForbiddenScope("Only the coordinator can close a training; ask it to.")
            if state_of(training, now) == "open":
                one = TRAININGS.c.training_id == training_id
                session.execute(update(TRAININGS).where(one).values(closed=now))
                self._storage.announce(session, News(training_id).text())

    def _require_place(self, session: Session, now: float) -> None:
        held = select(func.count()).where(TRAININGS.c.closed.is_(None), TRAININGS.c.expires > now)
        if (session.scalar(held) or 0) >= self._most:
            raise TooManyApplications(
                f"The server has {self._most} open trainings, its maximum "
                "(TRISEAL_MAXIMUM_TRAININGS); try again when some have been closed or have "
                "expired.",
                FULL_SECONDS,
            )


def remove_old_trainings(storage: Storage, now: float) -> int:
    """Remove trainings that have been over for a while; return their number."""
    over = (TRAININGS.c.expires <= now - KEPT_SECONDS) | (TRAININGS.c.closed <= now - KEPT_SECONDS)
    with storage.read() as session:  # so that an idle server does not write
        if session.scalar(select(TRAININGS.c.training_id).where(over).limit(1)) is None:
            return 0
    with storage.write() as session:
        gone = delete(TRAININGS).where(over).returning(TRAININGS.c.training_id)
        return len(session.scalars(gone).all())


def _members(session: Session, training_id: str) -> Sequence[Any]:
    """Return the rows of all members, the coordinator first."""
    columns = (
        *(MEMBERS.c.name, MEMBERS.c.code_digest, MEMBERS.c.token_digest),
        *(MEMBERS.c.last_number, MEMBERS.c.seen),
    )
    wanted = select(*columns).where(MEMBERS.c.training_id == training_id)
    return session.execute(wanted.order_by(MEMBERS.c.position)).all()
