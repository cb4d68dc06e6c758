"""The messages of trainings, which the server stores unchanged and cannot read.

A call posts messages, confirms those that have arrived, and reads new ones, in one transaction. A
message's id is its place in the order of commits, since every writer locks the training's row
first. It is deleted as soon as all its receivers have confirmed it.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from contract.trainings import (
    LARGEST_POST,
    LARGEST_READ,
    LARGEST_TRAINING_MESSAGE,
    MOST_READ,
    TrainingState,
)
from service.storage.prepared import Prepared
from service.storage.storage import Storage
from service.trainings.arrivals import INLINE_BYTES, News, Shown, Told
from service.trainings.limits import Limit, floor_of
from service.trainings.recent import Given, new_ones
from service.trainings.rows import (
    MEMBERS,
    MESSAGES,
    TRAININGS,
    MemberRow,
    TrainingRow,
    member_of,
    require_open,
    state_of,
    training_of,
)
from utils.errors import InvalidRequest, UnknownName, UploadEmpty, UploadTooLarge

SEEN_SECONDS = 10.0
"""Age from which the time of a member's last call is renewed by a call that changes nothing else"""

_HERE = MESSAGES.c.training_id == bindparam("training")
_FOR_ME = (MESSAGES.c.receiver == bindparam("me")) | (
    MESSAGES.c.receiver.is_(None) & (MESSAGES.c.sender != bindparam("me"))
)
_BETWEEN = _HERE & (MESSAGES.c.id > bindparam("above")) & (MESSAGES.c.id <= bindparam("upto"))
_NEWER = Prepared(
    select(*(MESSAGES.c[name] for name in ("id", "sender", "receiver", "number", "body")))
    .where(_BETWEEN, _FOR_ME)
    .order_by(MESSAGES.c.id)
    .limit(MOST_READ)
)
_SIZES = Prepared(
    select(MESSAGES.c.id, MESSAGES.c.size).where(_BETWEEN, _FOR_ME).order_by(MESSAGES.c.id)
)
_INSERT = Prepared(MESSAGES.insert())
_DELETE_DIRECT = Prepared(MESSAGES.delete().where(_BETWEEN, MESSAGES.c.receiver == bindparam("me")))
_DELETE_BROADCAST = Prepared(
    MESSAGES.delete().where(
        _HERE,
        MESSAGES.c.receiver.is_(None),
        MESSAGES.c.id <= bindparam("second"),
        (MESSAGES.c.id <= bindparam("first")) | (MESSAGES.c.sender == bindparam("lowest")),
    )
)
_THIS_MEMBER = (MEMBERS.c.training_id == bindparam("training")) & (
    MEMBERS.c.name == bindparam("me")
)
_PLACE = Prepared(select(MEMBERS.c.cursor, MEMBERS.c.dropped).where(_THIS_MEMBER))
_PLACES = Prepared(
    select(MEMBERS.c.name, MEMBERS.c.cursor, MEMBERS.c.room).where(
        MEMBERS.c.training_id == bindparam("training")
    )
)
_CALLED = Prepared(
    MEMBERS.update()
    .where(_THIS_MEMBER)
    .values(
        cursor=bindparam("to_cursor"),
        last_number=bindparam("to_number"),
        recent=bindparam("to_recent"),
        seen=bindparam("now"),
    )
)
_SEEN = Prepared(MEMBERS.update().where(_THIS_MEMBER).values(seen=bindparam("now")))
_COUNTED = Prepared(MEMBERS.update().where(_THIS_MEMBER).values(room=bindparam("to_room")))
_DROPPED = Prepared(
    MEMBERS.update()
    .where(_THIS_MEMBER)
    .values(
        cursor=bindparam("to_cursor"),
        dropped=bindparam("to_cursor"),
        room=bindparam("to_room"),
    )
)
_ADVANCE = Prepared(
    TRAININGS.update()
    .where(TRAININGS.c.training_id == bindparam("training"))
    .values(last_id=bindparam("to_id"))
)


class Found(NamedTuple):
    """The messages that a call has posted and read.

    `base` is the id above which it read, `last` the training's last id then, and `after` the one
    that the caller sends next. `news` is None if nothing new was posted.
    """

    member: str
    base: int
    last: int
    messages: list[Shown]
    after: int
    state: TrainingState
    more: bool
    dropped: bool
    numbers: list[int]
    news: News | None = None

    def with_news(self, messages: Sequence[Shown], last: int) -> Found | None:
        """Return the same with the messages that have come since, up to the id `last`.

        Returns None if they are too many for one response.
        """
        together = [*self.messages, *messages]
        size = sum(len(message["body"]) for message in together) * 3 // 4
        if self.more or len(together) > MOST_READ or size > LARGEST_READ:
            return None
        return self._replace(messages=together, last=last, after=max(self.after, last))

    def json(self) -> bytes:
        """Return the response's body (contract.trainings.TrainingExchanged)."""
        shown = {
            "numbers": self.numbers,
            "messages": self.messages,
            "after": self.after,
            "state": self.state,
            "more": self.more,
            "dropped": self.dropped,
        }
        return json.dumps(shown, separators=(",", ":")).encode()


class TrainingRelay:
    """The messages of all trainings; the methods are synchronous and thread-safe.

    All raise UnknownName and NotAuthorised.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Callable[[], float] = time.time,
        limit: Limit = Limit(),  # noqa: B008 - immutable
    ) -> None:
        self._storage, self._clock, self._limit = storage, clock, limit

    def require_member(self, training_id: str, token: str | None) -> None:
        """Raise NotAuthorised unless the token is that of a member of this training."""
        with self._storage.read() as session:
            training_of(session, training_id)
            member_of(session, training_id, token)

    def exchange(
        self, training_id: str, token: str | None, given: Sequence[Given], after: int
    ) -> Found:
        """Post messages, all or none, confirm those up to the id `after`, and read those above it.

        Posting the same again is harmless. Raises OutOfStep if a message is posted after the end of
        the training or under a lower number than the last one, AlreadySent for another message
        under a known number, InvalidRequest for an unknown receiver or an id that the training has
        not reached, UploadEmpty, UploadTooLarge, and DiskFull.
        """
        _require_sizes(given)
        if not given:
            found = self._glance(training_id, token, after)
            if found is not None:
                return found
        else:
            self._storage.require_disk(sum(len(one.body) for one in given))
        now = self._clock()
        with self._storage.write() as session:
            training = training_of(session, training_id, lock=True)
            me = member_of(session, training_id, token)
            if given:
                require_open(training, now)
            _require_reached(training, after)
            change = _Change(self._storage, session, training, me, self._limit)
            news = change.make(given, after, now)
            base = max(after, me.cursor)
            training = training._replace(last_id=change.last)
            found = _read(session, training, me.name, base, now, after < me.dropped)
        return found._replace(numbers=[one.number for one in given], news=news)

    def read_again(self, training_id: str, found: Found) -> Found:
        """Return the same reading as it is now, with the numbers that were posted."""
        with self._storage.read() as session:
            training = training_of(session, training_id)
            place = _PLACE.one_or_none(session, training=training_id, me=found.member)
            dropped = found.dropped or found.base < place.dropped
            base = max(found.base, place.cursor)
            again = _read(session, training, found.member, base, self._clock(), dropped)
        return again._replace(numbers=found.numbers)

    def _glance(self, training_id: str, token: str | None, after: int) -> Found | None:
        """Read without a change; return None if there is something to confirm or to note."""
        with self._storage.read() as session:
            training = training_of(session, training_id)
            me = member_of(session, training_id, token)
            _require_reached(training, after)
            now = self._clock()
            if after > me.cursor or me.seen is None or now - me.seen > SEEN_SECONDS:
                return None
            return _read(session, training, me.name, me.cursor, now, after < me.dropped)


class _Change:
    """The changes of one call, in a transaction that holds the lock of the training's row."""

    def __init__(
        self,
        storage: Storage,
        session: Session,
        training: TrainingRow,
        me: MemberRow,
        limit: Limit,
    ) -> None:
        self._storage, self._session, self._limit = storage, session, limit
        self._id, self._me, self.last = training.training_id, me, training.last_id

    def make(self, given: Sequence[Given], after: int, now: float) -> News | None:
        """Post, confirm and drop; return the news for waiting calls."""
        fresh, recent = new_ones(given, self._me.last_number, self._me.recent)
        confirms = after > self._me.cursor
        if not fresh and not confirms:
            self._run(_SEEN, me=self._me.name, now=now)
            return None
        places = {row.name: row for row in _PLACES.all(self._session, training=self._id)}
        _require_receivers(fresh, self._me.name, places)
        cursors = {name: int(place.cursor) for name, place in places.items()}
        before = floor_of(cursors)
        if confirms:
            self._forget(self._me.name, cursors, after)
        self._run(
            _CALLED,
            me=self._me.name,
            now=now,
            to_cursor=cursors[self._me.name],
            to_number=fresh[-1].number if fresh else self._me.last_number,
            to_recent=recent,
        )
        news = self._post(fresh) if fresh else None
        for receiver in _receivers(fresh, self._me.name, places):
            if self.last > max(places[receiver].room, cursors[receiver] + self._limit.room()):
                self._count(receiver, cursors)
        floor = floor_of(cursors)
        if (floor.first, floor.second) != (before.first, before.second):
            self._run(_DELETE_BROADCAST, **floor._asdict())
        return news

    def _post(self, fresh: Sequence[Given]) -> News:
        posted = []
        for one in fresh:
            self.last += 1
            posted.append(_told(self.last, self._me.name, one))
            _INSERT.run(
                self._session,
                training_id=self._id,
                id=self.last,
                sender=self._me.name,
                receiver=one.receiver,
                number=one.number,
                size=len(one.body),
                body=one.body,
            )
        self._run(_ADVANCE, to_id=self.last)
        news = News(self._id, self._me.name, tuple(posted))
        self._storage.announce(self._session, news.text())
        return news

    def _count(self, receiver: str, cursors: dict[str, int]) -> None:
        """Count the messages that wait for a receiver, and drop the oldest if they are too many."""
        ids = {"above": cursors[receiver], "upto": self.last}
        rows = _SIZES.all(self._session, training=self._id, me=receiver, **ids)
        waiting = [(int(row.id), int(row.size)) for row in rows]
        dropped = self._limit.dropped_to(waiting)
        kept = [size for each, size in waiting if each > dropped]
        room = self.last + self._limit.room(len(kept), sum(kept))
        if dropped:
            self._forget(receiver, cursors, dropped)
            self._run(_DROPPED, me=receiver, to_cursor=dropped, to_room=room)
        else:
            self._run(_COUNTED, me=receiver, to_room=room)

    def _forget(self, receiver: str, cursors: dict[str, int], upto: int) -> None:
        """Delete the messages to a receiver alone, and move its cursor."""
        self._run(_DELETE_DIRECT, me=receiver, above=cursors[receiver], upto=upto)
        cursors[receiver] = upto

    def _run(self, statement: Prepared, **values: Any) -> None:
        statement.run(self._session, training=self._id, **values)


def _read(
    session: Session, training: TrainingRow, me: str, base: int, now: float, dropped: bool
) -> Found:
    """Return the messages to a member with ids above `base`, as many as fit into a response."""
    last, upto, more = training.last_id, training.last_id, False
    place = {"training": training.training_id, "me": me, "above": base}
    if (last - base) * LARGEST_TRAINING_MESSAGE > LARGEST_READ:
        upto, more = _page(_SIZES.all(session, upto=last, **place), last)
    rows = _NEWER.all(session, upto=upto, **place) if upto > base else []
    return Found(
        member=me,
        base=base,
        last=last,
        messages=[_shown(*row) for row in rows],
        after=max(base, upto),
        state=state_of(training, now),
        more=more,
        dropped=dropped,
        numbers=[],
    )


def _page(sizes: Sequence[Any], last: int) -> tuple[int, bool]:
    """Return the id up to which a response goes, and True if there are messages after it."""
    upto = total = 0
    for place, row in enumerate(sizes):
        total += row.size
        if place == MOST_READ or (place and total > LARGEST_READ):
            return upto, True
        upto = int(row.id)
    return last, False


def _told(number: int, sender: str, one: Given) -> Told:
    """Return a message with the id `number` for the news."""
    size = len(one.body)
    small = size <= INLINE_BYTES
    shown = _shown(number, sender, one.receiver, one.number, one.body) if small else None
    return Told(number, one.receiver, size, shown)


def _shown(id_: int, sender: str, receiver: str | None, number: int, body: bytes) -> Shown:
    return {
        "id": id_,
        "sender": sender,
        "to": receiver,
        "number": number,
        "body": base64.b64encode(body).decode(),
    }


def _require_sizes(given: Sequence[Given]) -> None:
    for one in given:
        if not one.body:
            raise UploadEmpty(f"Message {one.number} is empty; nothing was stored.")
        if len(one.body) > LARGEST_TRAINING_MESSAGE:
            raise UploadTooLarge(
                f"Message {one.number} is larger than {LARGEST_TRAINING_MESSAGE} bytes; nothing "
                "was stored."
            )
    if sum(len(one.body) for one in given) > LARGEST_POST:
        raise UploadTooLarge(
            f"The messages have more than {LARGEST_POST} bytes together; nothing was stored. Post "
            "them with several calls."
        )


def _require_reached(training: TrainingRow, after: int) -> None:
    if after > training.last_id:
        raise InvalidRequest(
            f"after: the last message of this training has the id {training.last_id}; send `after` "
            "of the last response."
        )


def _require_receivers(fresh: Sequence[Given], me: str, known: Any) -> None:
    for one in fresh:
        if one.receiver == me:
            raise InvalidRequest("to: a member cannot send a message to itself.")
        if one.receiver is not None and one.receiver not in known:
            raise UnknownName("to: this training has no member of this name; nothing was stored.")


def _receivers(fresh: Sequence[Given], me: str, known: Any) -> list[str]:
    """Return the names of the members to whom any of the messages goes."""
    if any(one.receiver is None for one in fresh):
        return [name for name in known if name != me]
    return list(dict.fromkeys(one.receiver for one in fresh if one.receiver is not None))
