"""Messages between parties, which the server stores unchanged and cannot read.

A party sends one message for each step and receiver. The message can be read by its sender and its
receiver, or by all parties, and is erased with the application. The steps and their meaning are
defined by the parties; the server only enforces limits. This module is independent of HTTP; its
methods are synchronous and thread-safe.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Row, bindparam, func, select
from sqlalchemy.orm import Session

from contract.http import (
    MAXIMUM_BODY,
    ApplicationState,
    Exchanged,
    Relayed,
    RelayedMessages,
    Traffic,
    moment,
)
from engines.interface import PublicModel
from service.applications.activity_log import traffic_of
from service.applications.credentials import RELAY, SEND, bearer_of, require_viewer
from service.applications.logged import log_refused_permits
from service.applications.permits import Allowed, accept
from service.applications.rules import describe, require_model, seen
from service.applications.views import ApplicationView
from service.storage.prepared import Prepared
from service.storage.storage import Storage
from service.storage.tables import ApplicationRecord, TrafficRecord, table_of
from utils.errors import (
    AlreadySent,
    GovernanceError,
    InvalidRequest,
    OutOfStep,
    UploadEmpty,
    UploadTooLarge,
)

MAXIMUM_MESSAGES = 64
"""Messages of one party in one application."""
MAXIMUM_TOTAL = 1 << 20
"""Bytes of one party's messages in one application."""
PAGE = 32
"""Messages per response; the next call returns the next ones."""

# Rows instead of records, for the reason in service/applications/views.py.
_TRAFFIC = table_of(TrafficRecord)
_SAID = (_TRAFFIC.c.client_id == bindparam("client_id")) & _TRAFFIC.c.body.is_not(None)
_OWN = _TRAFFIC.c.sender == bindparam("party")
_NEWER = Prepared(
    select(_TRAFFIC)
    .where(
        _SAID,
        _TRAFFIC.c.number > bindparam("after"),
        _OWN | _TRAFFIC.c.receiver.is_(None) | (_TRAFFIC.c.receiver == bindparam("party")),
    )
    .order_by(_TRAFFIC.c.number)
    .limit(PAGE)
)
_EARLIER = Prepared(
    select(_TRAFFIC).where(
        _SAID,
        _OWN,
        _TRAFFIC.c.what == bindparam("step"),
        _TRAFFIC.c.receiver.is_not_distinct_from(bindparam("receiver")),
    )
)
_GIVEN = _OWN & _TRAFFIC.c.body.is_not(None)
_NUMBERS = Prepared(
    select(
        func.coalesce(func.max(_TRAFFIC.c.number), 0).label("last"),
        func.count().filter(_GIVEN).label("messages"),
        func.coalesce(func.sum(_TRAFFIC.c.size).filter(_GIVEN), 0).label("bytes"),
    ).where(_TRAFFIC.c.client_id == bindparam("client_id"))
)
"""The last number of an application, and the messages and bytes that a party has sent."""
_INSERT = Prepared(_TRAFFIC.insert())
_APPLICATIONS = table_of(ApplicationRecord)
_GIVE_KEY = Prepared(
    _APPLICATIONS.update()
    .where(_APPLICATIONS.c.client_id == bindparam("application"))
    .values(relay_key=bindparam("key"))
)


@dataclass(frozen=True)
class Given:
    """A message to store: its step, its receiver (None: all parties) and its body."""

    step: str
    receiver: str | None
    body: bytes


@dataclass(frozen=True)
class Heard:
    """The response to an exchange, and the party that made it."""

    party: str
    exchanged: Exchanged


T = TypeVar("T")


class _KeyLackingError(Exception):
    """The application has no key for messages yet; one has to be created."""

    def __init__(self, store: str) -> None:
        super().__init__()
        self.store = store


class Relay:
    """The messages between the parties of each application.

    Besides the errors that each method names, all raise InvalidRequest for an invalid id,
    UnknownApplication, ApplicationExpired, NotAuthorised and ForbiddenScope; those that read
    messages also raise StoredDataDamaged.
    """

    def __init__(
        self, storage: Storage, public: PublicModel, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage = storage
        self._public = public
        self._clock = clock

    def post(
        self, client_id: str, token: str | None, step: str, receiver: str | None, body: bytes
    ) -> int:
        """Store a message from the token's party to `receiver` (None: all parties).

        Return its number; a repeated message keeps its number. Raises UnknownParty, InvalidRequest,
        UploadEmpty, UploadTooLarge, AlreadySent if a different message was sent for this step and
        receiver, and OutOfStep if the party has reached its limit.
        """
        given = [Given(step, receiver, body)]
        return self._with_key(client_id, lambda made: self._post(client_id, token, given, made))

    def exchange(
        self,
        client_id: str,
        token: str | None,
        given: Sequence[Given],
        after: int,
        posted: Sequence[int] = (),
        allowed: Allowed = Allowed(),  # noqa: B008 - immutable
    ) -> Heard:
        """Store messages, permits and receipts, all or none, and return what the party may read.

        All happens in one transaction. Messages in `given`, and those whose numbers are in
        `posted`, are not returned. Permits and receipts need the scope `send` too; permits that
        have been used are ignored, since the call may be a repetition. Raises the errors of `post`,
        `messages` and Permits.give.
        """
        if given or allowed:
            try:
                return self._with_key(
                    client_id,
                    lambda made: self._exchange(client_id, token, given, after, allowed, made),
                )
            except GovernanceError as error:
                log_refused_permits(self._storage, client_id, allowed.permits, error, self._clock())
                raise
        with self._storage.read() as session:
            application, party = self._party(session, client_id, token)
            key = application.relay_key
            return self._answer(session, application, key, party, after, list(posted))

    def _exchange(
        self,
        client_id: str,
        token: str | None,
        given: Sequence[Given],
        after: int,
        allowed: Allowed,
        made: str | None,
    ) -> tuple[Heard, str | None]:
        with self._storage.write() as session:
            application, party = self._party(session, client_id, token, lock=True)
            numbers, key = self._keep(session, application, party, given, made)
            if allowed:
                now = self._clock()
                bearer_of(application, token, SEND, now)
                require_model(application, self._public)
                if accept(self._storage, application, self._public, allowed, now, repeated=True):
                    self._storage.announce(session, client_id)
            return self._answer(session, application, key, party, after, numbers), key

    def _post(
        self, client_id: str, token: str | None, given: Sequence[Given], made: str | None
    ) -> tuple[int, str | None]:
        with self._storage.write() as session:
            application, party = self._party(session, client_id, token, lock=True)
            numbers, key = self._keep(session, application, party, given, made)
            return numbers[0], key

    def _with_key(self, client_id: str, keep: Callable[[str | None], tuple[T, str | None]]) -> T:
        """Return the first value of `keep`, which is called again with a new key if it lacks one.

        The second value of `keep` is the name of the application's key.
        """
        try:
            return keep(None)[0]
        except _KeyLackingError as lacking:
            store = lacking.store
        # Outside of the transaction, so that others may write while the key is written to disk.
        made = self._storage.relay_keys.make(store)
        try:
            found, key = keep(made)
        except BaseException:
            self._storage.release(client_id, store, [made])
            raise
        if key != made:  # another party has sent a message meanwhile
            self._storage.release(client_id, store, [made])
        return found

    def _party(
        self, session: Session, client_id: str, token: str | None, *, lock: bool = False
    ) -> tuple[ApplicationView, str]:
        now = self._clock()
        application = seen(session, client_id, now, lock=lock)
        return application, bearer_of(application, token, RELAY, now)

    def _keep(
        self,
        session: Session,
        application: ApplicationView,
        sender: str,
        given: Sequence[Given],
        made: str | None,
    ) -> tuple[list[int], str | None]:
        """Return the numbers, and the name of the application's key, or `made` if it has none.

        Raises _KeyLackingError if there is neither.
        """
        key = application.relay_key
        numbers: list[int] = []
        for message in given:
            self._require(sender, message)
            earlier = self._earlier(session, application, sender, message)
            if earlier is not None:
                if self._body(application, key, earlier) != message.body:
                    raise AlreadySent(
                        f"{sender} has already sent a different message for this step. "
                        "Open a new application to start over."
                    )
                numbers.append(int(earlier.number))
                continue
            number = self._next_number(session, application.client_id, sender, len(message.body))
            if key is None:
                if made is None:
                    raise _KeyLackingError(application.store)
                key = made
                _GIVE_KEY.run(session, application=application.client_id, key=key)
            self._insert(session, application, key, number, sender, message)
            numbers.append(number)
        if given:
            self._storage.announce(session, application.client_id)
        return numbers, key

    def _require(self, sender: str, message: Given) -> None:
        if message.receiver is not None:
            self._public.schema_.party(message.receiver)
        if message.receiver == sender:
            raise InvalidRequest("receiver: a party cannot send a message to itself.")
        if not message.body:
            raise UploadEmpty("The message is empty; nothing was stored.")
        if len(message.body) > MAXIMUM_BODY:
            raise UploadTooLarge(
                f"The message is larger than {MAXIMUM_BODY} bytes; nothing was stored."
            )

    def _insert(
        self,
        session: Session,
        application: ApplicationView,
        key: str,
        number: int,
        sender: str,
        message: Given,
    ) -> None:
        client_id, step, receiver = application.client_id, message.step, message.receiver
        place = _place(client_id, number, sender, receiver, step)
        _INSERT.run(
            session,
            client_id=client_id,
            number=number,
            at=self._clock(),
            sender=sender,
            receiver=receiver,
            what=step,
            size=len(message.body),
            body=self._storage.relay_keys.seal(application.store, key, message.body, place),
        )

    def _answer(
        self,
        session: Session,
        application: ApplicationView,
        key: str | None,
        party: str,
        after: int,
        posted: list[int],
    ) -> Heard:
        rows = _NEWER.all(session, client_id=application.client_id, party=party, after=after)
        last = [] if len(rows) == PAGE else posted  # a full page may have others after it
        cursor = max([after, *(row.number for row in rows), *last])
        found = [
            _shown(row, self._body(application, key, row))
            for row in rows
            if row.number not in posted
        ]
        state = describe(application, self._public, {}, self._clock())
        exchanged = Exchanged(
            numbers=posted, messages=found, after=cursor, state=state, tag=_tag(state)
        )
        return Heard(party, exchanged)

    def messages(self, client_id: str, token: str | None, after: int) -> RelayedMessages:
        """Return up to PAGE messages numbered above `after` that the token's party may read."""
        found = self.exchange(client_id, token, (), after).exchanged
        return RelayedMessages(messages=found.messages, state=found.state, tag=found.tag)

    def traffic(self, client_id: str, token: str | None) -> Traffic:
        """Return the application's traffic, for a party's token with `read` or the watch token."""
        with self._storage.read() as session:
            now = self._clock()
            require_viewer(seen(session, client_id, now), token, now)
            return traffic_of(session, client_id)

    def _body(self, application: ApplicationView, key: str | None, row: Row[Any]) -> bytes:
        place = _place(row.client_id, row.number, row.sender, row.receiver, row.what)
        # No blob has an empty name, so a missing key causes an error.
        return self._storage.relay_keys.open(application.store, key or "", row.body, place)

    def _earlier(
        self, session: Session, application: ApplicationView, sender: str, message: Given
    ) -> Row[Any] | None:
        earlier: Row[Any] | None = _EARLIER.one_or_none(
            session,
            client_id=application.client_id,
            party=sender,
            step=message.step,
            receiver=message.receiver,
        )
        return earlier

    def _next_number(self, session: Session, client_id: str, sender: str, size: int) -> int:
        last, count, total = _NUMBERS.one_or_none(session, client_id=client_id, party=sender)
        if count >= MAXIMUM_MESSAGES or total + size > MAXIMUM_TOTAL:
            raise OutOfStep(
                f"{sender} has reached the limit of messages in one application "
                f"({MAXIMUM_MESSAGES} messages, {MAXIMUM_TOTAL} bytes); open a new application."
            )
        return int(last) + 1


def _tag(state: ApplicationState) -> str:
    return hashlib.sha256(state.model_dump_json().encode()).hexdigest()[:16]


def _place(client_id: str, number: int, sender: str, receiver: str | None, step: str) -> str:
    """Return the context to which a sealed message is bound; it cannot be opened in another row."""
    return f"{client_id} {number} {sender} {receiver or '*'} {step}"


def _shown(row: Row[Any], body: bytes) -> Relayed:
    return Relayed(
        number=row.number,
        sender=row.sender,
        receiver=row.receiver,
        step=row.what,
        bytes=row.size,
        sent_at=moment(row.at),
        body=base64.b64encode(body),
    )
