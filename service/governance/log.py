"""Appending to the log in the server's database, in the transaction of what an entry is about.

Either both are committed or neither, so that nothing happens without its entry. All servers of one
database append under one lock, one entry after another, and each entry's transaction also stores
the checkpoint that includes it, signed by the log.

Entries have digests and pseudonyms only. Readable details are sealed under a key of the person whom
they are about, in rows that are deleted with that key (governance/log/personal_details.py).
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sqlalchemy import and_, bindparam, delete, func, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from governance.log.checkpoint import Checkpoint, Note, sign_checkpoint, verify_checkpoint
from governance.log.entries import Entry, Kind, Outcome, Role, pseudonym
from governance.log.merkle import EMPTY_ROOT, Position, append, leaf_hash, root
from governance.log.personal_details import (
    details_digest,
    new_person_key,
    pseudonym_salt,
    seal_details,
)
from service.storage.log_keys import LogKeys
from service.storage.prepared import Prepared
from service.storage.storage import LOG, Storage
from service.storage.tables import (
    LogCheckpointRecord,
    LogCosignatureRecord,
    LogDetailsRecord,
    LogEntryRecord,
    LogNodeRecord,
    LogPersonRecord,
    table_of,
)
from utils.errors import LogInconsistent, ProofInvalid, SettingsInvalid

logger = logging.getLogger("triseal.log")

ENTRIES, NODES = table_of(LogEntryRecord), table_of(LogNodeRecord)
CHECKPOINTS, COSIGNATURES = table_of(LogCheckpointRecord), table_of(LogCosignatureRecord)
PEOPLE, DETAILS = table_of(LogPersonRecord), table_of(LogDetailsRecord)
KEPT_CHECKPOINTS = 256
"""Entries after which a checkpoint that nobody has cosigned is removed."""
MOST_REFUSED = 64
"""Refused permits of one person that the log has entries about; they can be repeated at will."""
_TIDY_EVERY = 64
_PERSONAL: tuple[Role, ...] = ("owner", "person")
_NODES_AT_ONCE = 32
"""Hashes of the tree that one query reads."""
_SIZE = Prepared(
    select(
        select(func.coalesce(func.max(CHECKPOINTS.c.size), 0)).scalar_subquery().label("signed"),
        select(func.coalesce(func.max(ENTRIES.c.number), -1)).scalar_subquery().label("last"),
    )
)
_NEWEST = Prepared(select(CHECKPOINTS.c.note).order_by(CHECKPOINTS.c.size.desc()).limit(1))
_PERSON_KEY = Prepared(select(PEOPLE.c.key).where(PEOPLE.c.person == bindparam("person")))
_ADD_ENTRY, _ADD_NODE = Prepared(insert(ENTRIES)), Prepared(insert(NODES))
_ADD_PERSON, _ADD_DETAILS = Prepared(insert(PEOPLE)), Prepared(insert(DETAILS))
_ADD_CHECKPOINT = Prepared(insert(CHECKPOINTS))


@dataclass(frozen=True)
class Event:
    """Something to log: the members are those of an entry, before anything is hidden.

    `at` is in seconds since 1970. `names` are hidden as pseudonyms; those of owners and people
    need a `person`, under whose key they and the `details` are hidden.
    """

    kind: Kind
    at: float
    outcome: Outcome | None = None
    digests: Mapping[str, Iterable[str]] = field(default_factory=dict)
    names: Mapping[Role, Sequence[str]] = field(default_factory=dict)
    person: str | None = None
    details: Mapping[str, Any] | None = None


def application_of(client_id: str) -> str:
    """Return the person that stands for an application's parties in the log."""
    return f"application {client_id}"


def user_of(user_id: str) -> str:
    """Return the person that a user of a partner is in the log."""
    return f"user {user_id}"


class Nodes:
    """The tree's hashes in a session, and those read or written before, in memory."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[Position, bytes] = {}

    def get(self, positions: Sequence[Position]) -> Mapping[Position, bytes]:
        """Return the hashes that the database has."""
        missing = [place for place in dict.fromkeys(positions) if place not in self._known]
        for start in range(0, len(missing), _NODES_AT_ONCE):
            places = missing[start : start + _NODES_AT_ONCE]
            values = {f"level_{i}": place.level for i, place in enumerate(places)}
            values |= {f"number_{i}": place.number for i, place in enumerate(places)}
            for row in _nodes(len(places)).all(self._session, **values):
                self._known[Position(row.level, row.number)] = bytes(row.hash)
        return {place: self._known[place] for place in positions if place in self._known}

    def put(self, nodes: Mapping[Position, bytes]) -> None:
        """Insert new hashes; raises LogInconsistent if one exists, which would be a fork."""
        try:
            for place, value in nodes.items():
                _ADD_NODE.run(self._session, level=place.level, number=place.number, hash=value)
        except (IntegrityError, sqlite3.IntegrityError) as error:
            raise _inconsistent() from error
        self._known.update(nodes)


@cache
def _nodes(count: int) -> Prepared:
    """Return the query of so many hashes, at most _NODES_AT_ONCE, by level and number."""
    places = (
        and_(NODES.c.level == bindparam(f"level_{i}"), NODES.c.number == bindparam(f"number_{i}"))
        for i in range(count)
    )
    return Prepared(select(NODES).where(or_(*places)))


def open_log(storage: Storage) -> None:
    """Sign the checkpoint of the empty log, or check that this server's key signed the last one.

    Raises SettingsInvalid if another key has signed it, and LogInconsistent.
    """
    keys = storage.log_keys
    with storage.write() as session:
        storage.lock(session, LOG)
        note = newest_note(session)
        if note is None:
            _size(session)
            _sign(session, keys, 0, EMPTY_ROOT)
            return
    try:
        verify_checkpoint(note, keys.origin, keys.public)
    except ProofInvalid as error:
        raise SettingsInvalid(
            "The log in the server's database was signed with another key. Give all servers of one "
            "database the same TRISEAL_LOG_KEY, or restore the file log_key in the server's data "
            "folder."
        ) from error


def record(storage: Storage, session: Session, event: Event) -> int:
    """Append the entry of an event in the caller's transaction; return its number.

    It holds the lock on the log until the end of the transaction, in which the caller must wait for
    no other lock from here on. Raises LogInconsistent if the stored log was changed.
    """
    return _record(storage, session, event, lasting=True)


def record_erasure(storage: Storage, session: Session, person: str, name: str, now: float) -> None:
    """Destroy a person's key with all details, and append the entry that says so.

    A log that was tampered with does not keep a person from being erased: the entry is left out
    then, and the server's own log says why.
    """
    event = Event("erasure", now, "done", names={"person": (name,)}, person=person)
    try:
        with session.begin_nested():
            _record(storage, session, event, lasting=False)
    except LogInconsistent as error:
        logger.error("an erasure was not logged: %s", error.message)
    session.execute(delete(DETAILS).where(DETAILS.c.person == person))
    session.execute(delete(PEOPLE).where(PEOPLE.c.person == person))


def may_record_refusal(session: Session, person: str) -> bool:
    """Return True, and count it, if the log may get another entry about a refusal of a person."""
    counted = (
        PEOPLE.update()
        .where(PEOPLE.c.person == person, PEOPLE.c.refused < MOST_REFUSED)
        .values(refused=PEOPLE.c.refused + 1)
    )
    return session.execute(counted.returning(PEOPLE.c.person)).one_or_none() is not None


def person_key(session: Session, person: str, *, lasting: bool = True) -> bytes:
    """Return a person's key; one that does not exist is made, and stored if it is `lasting`."""
    found = _PERSON_KEY.one_or_none(session, person=person)
    if found is not None:
        return bytes(found.key)
    key = new_person_key()
    if lasting:
        _ADD_PERSON.run(session, person=person, key=key, refused=0)
    return key


def newest_note(session: Session) -> Note | None:
    """Return the checkpoint of the whole log; None if nothing was ever stored."""
    found = _NEWEST.one_or_none(session)
    return None if found is None else Note.parse(found.note)


def _record(storage: Storage, session: Session, event: Event, *, lasting: bool) -> int:
    storage.lock(session, LOG)
    number, keys = _size(session), storage.log_keys
    own = None if event.person is None else person_key(session, event.person, lasting=lasting)
    sealed = None if own is None or event.details is None else seal_details(event.details, own)
    entry = Entry.made(
        event.kind,
        int(event.at),
        outcome=event.outcome,
        digests=event.digests,
        pseudonyms={
            role: [_pseudonym(keys, role, name, own) for name in names]
            for role, names in event.names.items()
        },
        details=None if sealed is None else details_digest(sealed),
    )
    data = entry.to_bytes()
    nodes = Nodes(session)
    size = append(nodes, number, [leaf_hash(data)])
    _ADD_ENTRY.run(session, number=number, data=data, **columns_of(entry))
    if sealed is not None:
        _ADD_DETAILS.run(session, number=number, person=event.person, sealed=sealed)
    _sign(session, keys, size, root(nodes, size))
    if size % _TIDY_EVERY == 0:
        session.execute(
            delete(CHECKPOINTS).where(
                CHECKPOINTS.c.size <= size - KEPT_CHECKPOINTS,
                CHECKPOINTS.c.size.not_in(select(COSIGNATURES.c.size)),
            )
        )
    return number


def columns_of(entry: Entry) -> dict[str, Any]:
    """Return the columns that repeat parts of an entry."""
    return {
        "at": entry.seconds,
        "kind": entry.kind,
        "outcome": entry.outcome,
        "requester": next(iter(entry.pseudonyms.get("requester", ())), None),
    }


def _pseudonym(keys: LogKeys, role: Role, name: str, own: bytes | None) -> str:
    if role not in _PERSONAL:
        return pseudonym(keys.pseudonyms, role, name)
    if own is None:
        raise ValueError("the pseudonym of a person needs the person's key")
    return pseudonym(keys.pseudonyms, role, name, pseudonym_salt(own))


def _size(session: Session) -> int:
    """Return the number of entries; raises LogInconsistent unless it is that of the checkpoint."""
    signed, last = _SIZE.one_or_none(session)
    if signed != last + 1:
        raise _inconsistent()
    return int(signed)


def _sign(session: Session, keys: LogKeys, size: int, tree_root: bytes) -> None:
    note = sign_checkpoint(Checkpoint(keys.origin, size, tree_root), keys.signing)
    _ADD_CHECKPOINT.run(session, size=size, note=note.text())


def _inconsistent() -> LogInconsistent:
    return LogInconsistent(
        "The server's log was changed in its database, so that nothing can be added to it. Compare "
        "it with the last cosigned checkpoint, and restore the database from a backup."
    )
