"""What parties say to each other through the server, which keeps it as it came and reads nothing.

A party gives one body for each step and receiver. It is shown to all parties or to its receiver,
and to its sender; it is erased with the application. What steps there are and what they mean is
the parties' own matter: the server knows bounds and nothing else. Nothing here knows of HTTP; the
methods are synchronous and thread-safe.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from sqlalchemy import Row, bindparam, func, select
from sqlalchemy.orm import Session

from engines.interface import PublicModel
from service.answers import Relayed, RelayedMessages, Traffic, moment
from service.applications.activity_log import traffic_of
from service.applications.credentials import RELAY, bearer_of, require_viewer
from service.applications.rules import describe, seen
from service.applications.views import ApplicationView
from service.storage.storage import Storage
from service.storage.tables import ApplicationRecord, TrafficRecord, table_of
from utils.errors import AlreadySent, InvalidRequest, OutOfStep, UploadEmpty, UploadTooLarge

MAXIMUM_BODY = 64 * 1024
MAXIMUM_MESSAGES = 64
"""Of one party in one application."""
MAXIMUM_TOTAL = 1 << 20
"""Bytes of one party's bodies in one application."""
PAGE = 32
"""Messages of one answer; whoever asks again gets the next."""
STEP_PATTERN = r"^[a-z][a-z_]{0,31}(:[a-z]{1,16})?$"

# Rows and not records, for the reason in service/applications/views.py; each statement is made once
# only.
_TRAFFIC = table_of(TrafficRecord)
_SAID = (_TRAFFIC.c.client_id == bindparam("client_id")) & _TRAFFIC.c.body.is_not(None)
_OWN = _TRAFFIC.c.sender == bindparam("party")
_NEWER = (
    select(_TRAFFIC)
    .where(
        _SAID,
        _TRAFFIC.c.number > bindparam("after"),
        _OWN | _TRAFFIC.c.receiver.is_(None) | (_TRAFFIC.c.receiver == bindparam("party")),
    )
    .order_by(_TRAFFIC.c.number)
    .limit(PAGE)
)
_EARLIER = select(_TRAFFIC).where(
    _SAID,
    _OWN,
    _TRAFFIC.c.what == bindparam("step"),
    _TRAFFIC.c.receiver.is_not_distinct_from(bindparam("receiver")),
)
_NUMBERS = select(
    func.coalesce(func.max(_TRAFFIC.c.number), 0),
    func.count().filter(_OWN & _TRAFFIC.c.body.is_not(None)),
    func.coalesce(func.sum(_TRAFFIC.c.size).filter(_OWN & _TRAFFIC.c.body.is_not(None)), 0),
).where(_TRAFFIC.c.client_id == bindparam("client_id"))
"""The last number of an application, and how many messages and bytes a party has given."""
_INSERT = _TRAFFIC.insert()
_APPLICATIONS = table_of(ApplicationRecord)
_GIVE_KEY = (
    _APPLICATIONS.update()
    .where(_APPLICATIONS.c.client_id == bindparam("application"))
    .values(relay_key=bindparam("key"))
)

_Message: TypeAlias = tuple[str, str | None, str, str | None, bytes]
"""The application's id, the sender's token, the step, the receiver (None: all), the body."""


class _KeyLackingError(Exception):
    """This is the first message of its application; its key has to be made."""

    def __init__(self, store: str) -> None:
        super().__init__()
        self.store = store


class Relay:
    """The messages between the parties of each application.

    Beside what each method names, all raise InvalidRequest for what is no id, UnknownApplication,
    ApplicationExpired, NotAuthorised and ForbiddenScope; those that read, StoredDataDamaged.
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
        """Keep a message of the token's party for `receiver` (None: all); its number.

        The same body again answers the same number. Raises UnknownParty, InvalidRequest,
        UploadEmpty, UploadTooLarge, AlreadySent where another body was given for this step and
        receiver, OutOfStep where the party has said all it may.
        """
        message = (client_id, token, step, receiver, body)
        try:
            return self._keep(message, None)[0]
        except _KeyLackingError as lacking:
            store = lacking.store
        # Made outside of the transaction: others may write while it goes to the disk.
        made = self._storage.relay_keys.make(store)
        try:
            number, key = self._keep(message, made)
        except BaseException:
            self._storage.release(client_id, store, [made])
            raise
        if key != made:  # another party spoke meanwhile
            self._storage.release(client_id, store, [made])
        return number

    def _keep(self, message: _Message, made: str | None) -> tuple[int, str | None]:
        """Its number, and the name of the application's key, which `made` becomes if it has none.

        Raises _KeyLackingError where there is neither.
        """
        client_id, token, step, receiver, body = message
        with self._storage.write() as session:
            now = self._clock()
            application = seen(session, client_id, now, lock=True)
            sender = bearer_of(application, token, RELAY, now)
            if receiver is not None:
                self._public.schema_.party(receiver)
            if receiver == sender:
                raise InvalidRequest("receiver: a party has nothing to send to itself.")
            if not body:
                raise UploadEmpty("The message is empty; nothing was stored.")
            if len(body) > MAXIMUM_BODY:
                raise UploadTooLarge(
                    f"A message may have at most {MAXIMUM_BODY} bytes; nothing was stored."
                )
            earlier = self._earlier(session, client_id, sender, step, receiver)
            if earlier is not None:
                if self._body(application, earlier) != body:
                    raise AlreadySent(
                        f"{sender} has sent another message for this step; a step has one message. "
                        "Open a new application to begin again."
                    )
                return int(earlier.number), application.relay_key
            number = self._next_number(session, client_id, sender, len(body))
            key = application.relay_key or made
            if key is None:
                raise _KeyLackingError(application.store)
            if application.relay_key is None:
                session.execute(_GIVE_KEY, {"application": client_id, "key": key})
            place = _place(client_id, number, sender, receiver, step)
            sealed = self._storage.relay_keys.seal(application.store, key, body, place)
            row = {
                "client_id": client_id,
                "number": number,
                "at": now,
                "sender": sender,
                "receiver": receiver,
                "what": step,
                "size": len(body),
                "body": sealed,
            }
            session.execute(_INSERT, row)
            self._storage.announce(session, client_id)
            return number, key

    def messages(self, client_id: str, token: str | None, after: int) -> RelayedMessages:
        """Up to PAGE messages with numbers above `after` that the token's party may read."""
        with self._storage.read() as session:
            now = self._clock()
            application = seen(session, client_id, now)
            party = bearer_of(application, token, RELAY, now)
            rows = session.execute(_NEWER, {"client_id": client_id, "party": party, "after": after})
            found = [_shown(row, self._body(application, row)) for row in rows]
            state = describe(application, self._public, {})
        tag = hashlib.sha256(state.model_dump_json().encode()).hexdigest()[:16]
        return RelayedMessages(messages=found, state=state, tag=tag)

    def traffic(self, client_id: str, token: str | None) -> Traffic:
        """All that travelled, without content; for parties and for the token for watching."""
        with self._storage.read() as session:
            now = self._clock()
            require_viewer(seen(session, client_id, now), token, now)
            return traffic_of(session, client_id)

    def _body(self, application: ApplicationView, row: Row[Any]) -> bytes:
        place = _place(row.client_id, row.number, row.sender, row.receiver, row.what)
        key = application.relay_key or ""  # no blob has that name: it is an error where it is read
        return self._storage.relay_keys.open(application.store, key, row.body, place)

    def _earlier(
        self, session: Session, client_id: str, sender: str, step: str, receiver: str | None
    ) -> Row[Any] | None:
        own = {"client_id": client_id, "party": sender, "step": step, "receiver": receiver}
        return session.execute(_EARLIER, own).one_or_none()

    def _next_number(self, session: Session, client_id: str, sender: str, size: int) -> int:
        own = {"client_id": client_id, "party": sender}
        last, count, total = session.execute(_NUMBERS, own).one()
        if count >= MAXIMUM_MESSAGES or total + size > MAXIMUM_TOTAL:
            raise OutOfStep(
                f"{sender} has sent as much as one application takes ({MAXIMUM_MESSAGES} messages, "
                f"{MAXIMUM_TOTAL} bytes); open a new application."
            )
        return int(last) + 1


def _place(client_id: str, number: int, sender: str, receiver: str | None, step: str) -> str:
    """What a sealed body belongs to; in another row it does not open."""
    return f"{client_id} {number} {sender} {receiver or '*'} {step}"


def _shown(row: Row[Any], body: bytes) -> Relayed:
    return Relayed(
        number=row.number,
        sender=row.sender,
        receiver=row.receiver,
        step=row.what,
        bytes=row.size,
        sent_at=moment(row.at),
        body=base64.b64encode(body).decode(),
    )
