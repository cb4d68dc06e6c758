"""Reading the log: its checkpoints, entries and proofs, and what was logged about applications."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, bindparam, select
from sqlalchemy.orm import Session

from contract.governance import (
    MOST_ENTRIES,
    ConsistencyProof,
    InclusionProof,
    LogEntries,
    LogEntry,
    LogFacts,
    LogLine,
    LogLines,
)
from governance.log.checkpoint import LOG_KEY, verifier_key
from governance.log.entries import Entry, pseudonym
from governance.log.merkle import consistency_proof, inclusion_proof
from governance.log.personal_details import open_details
from service.governance.checkpoints import cosigners_of, newest_checkpoint
from service.governance.log import DETAILS, ENTRIES, PEOPLE, Nodes
from service.governance.partners import MOST_PARTNERS
from service.storage.prepared import Prepared
from service.storage.storage import Storage
from service.storage.tables import PartnerRecord, table_of
from settings import Settings
from utils.errors import LogInconsistent, ProofInvalid, StoreDamaged

_PARTNERS = table_of(PartnerRecord)
_WITH_DETAILS = (
    select(ENTRIES.c.number, ENTRIES.c.data, DETAILS.c.person, DETAILS.c.sealed, PEOPLE.c.key)
    .outerjoin(DETAILS, DETAILS.c.number == ENTRIES.c.number)
    .outerjoin(PEOPLE, PEOPLE.c.person == DETAILS.c.person)
)


class LogView:
    """The log as it is shown; the methods are synchronous and thread-safe."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        self._storage, self._settings = storage, settings
        self._alias = lru_cache(maxsize=MOST_PARTNERS)(self._alias_of)

    def facts(self) -> LogFacts:
        """Return the log's name, size, keys and cosigners."""
        keys = self._storage.log_keys
        with self._storage.read() as session:
            size = newest_checkpoint(session).size
        return LogFacts(
            origin=keys.origin,
            key=keys.public.hex(),
            verifier_key=verifier_key(keys.origin, LOG_KEY, keys.public),
            permit_key=keys.permit_public.hex(),
            cosigners={name: key.hex() for name, key in cosigners_of(self._settings).items()},
            size=size,
        )

    def entries(self, start: int, end: int) -> LogEntries:
        """Return the entries from `start` up to `end` (excluded), at most MOST_ENTRIES."""
        end = min(end, start + MOST_ENTRIES)
        with self._storage.read() as session:
            size = newest_checkpoint(session).size
            wanted = ENTRIES.c.number.between(start, end - 1)
            rows = session.execute(
                select(ENTRIES.c.number, ENTRIES.c.data).where(wanted).order_by(ENTRIES.c.number)
            ).all()
        return LogEntries(size=size, items=[_shown(row, _parsed(row), None) for row in rows])

    def inclusion(self, index: int, size: int | None) -> InclusionProof:
        """Return the proof of an entry in the log of `size` entries (None: all of them)."""
        with self._storage.read() as session:
            size = self._known_size(session, size)
            hashes = inclusion_proof(Nodes(session), index, size)
        return InclusionProof(index=index, hashes=[each.hex() for each in hashes])

    def consistency(self, old: int, new: int | None) -> ConsistencyProof:
        """Return the proof that the log of `new` entries continues the log of `old` ones."""
        with self._storage.read() as session:
            size = self._known_size(session, new)
            hashes = consistency_proof(Nodes(session), old, size)
        return ConsistencyProof(hashes=[each.hex() for each in hashes])

    def of_person(self, person: str) -> LogEntries:
        """Return the newest entries about a person, with their details, in order."""
        with self._storage.read() as session:
            size = newest_checkpoint(session).size
            rows = session.execute(
                _WITH_DETAILS.where(DETAILS.c.person == person)
                .order_by(ENTRIES.c.number.desc())
                .limit(MOST_ENTRIES)
            ).all()
        shown = []
        for row in reversed(rows):
            entry = _parsed(row)
            shown.append(_shown(row, entry, _details(row, entry)))
        return LogEntries(size=size, items=shown)

    def lines(
        self,
        *,
        partner: str | None,
        person: str | None,
        status: str | None,
        kind: str | None,
        start: float | None,
        end: float | None,
        limit: int,
        offset: int,
    ) -> LogLines:
        """Return the newest entries that match, with names and details as far as keys exist."""
        given = {
            "requester": None if partner is None else self._alias(partner),
            "person": person,
            "outcome": status,
            "kind": kind,
            "start": start,
            "end": end,
        }
        wanted = {name: value for name, value in given.items() if value is not None}
        with self._storage.read() as session:
            query = _lines(frozenset(wanted))
            rows = query.all(session, **wanted, most=limit, left_out=offset)
            names = _NAMES.all(session)
        partners = {self._alias(row.partner_id): row.partner_id for row in names}
        return LogLines(items=[_line(row, partners) for row in rows])

    def _alias_of(self, partner: str) -> str:
        return pseudonym(self._storage.log_keys.pseudonyms, "requester", partner)

    def _known_size(self, session: Session, size: int | None) -> int:
        newest = newest_checkpoint(session).size
        if size is not None and size > newest:
            raise ProofInvalid(f"The log has {newest} entries; ask for a size up to {newest}.")
        return newest if size is None else size


_NAMES = Prepared(select(_PARTNERS.c.partner_id))
_CONDITIONS: Mapping[str, ColumnElement[bool]] = {
    "requester": ENTRIES.c.requester == bindparam("requester"),
    "person": DETAILS.c.person == bindparam("person"),
    "outcome": ENTRIES.c.outcome == bindparam("outcome"),
    "kind": ENTRIES.c.kind == bindparam("kind"),
    "start": ENTRIES.c.at >= bindparam("start", type_=Float),
    "end": ENTRIES.c.at < bindparam("end", type_=Float),
}


@cache
def _lines(names: frozenset[str]) -> Prepared:
    """Return the search for the newest entries with these conditions."""
    wanted = _WITH_DETAILS.where(*(_CONDITIONS[name] for name in sorted(names)))
    most, left_out = bindparam("most", type_=Integer), bindparam("left_out", type_=Integer)
    return Prepared(wanted.order_by(ENTRIES.c.number.desc()).limit(most).offset(left_out))


def _parsed(row: Any) -> Entry:
    try:
        return Entry.parse(bytes(row.data))
    except ProofInvalid as error:
        raise LogInconsistent(
            f"Entry {row.number} of the log was altered. Restore the database from a backup."
        ) from error


def _shown(row: Any, entry: Entry, details: dict[str, Any] | None) -> LogEntry:
    return LogEntry(index=row.number, entry=entry.to_json(), details=details)


def _details(row: Any, entry: Entry) -> dict[str, Any] | None:
    digest = entry.details
    if digest is None or row.sealed is None or row.key is None:
        return None
    try:
        return open_details(bytes(row.sealed), digest, bytes(row.key))
    except StoreDamaged as error:
        raise LogInconsistent(
            f"The details of entry {row.number} were altered. Restore the database from a backup."
        ) from error


def _line(row: Any, partners: Mapping[str, str]) -> LogLine:
    entry = _parsed(row)
    details = _details(row, entry)
    alias = next(iter(entry.pseudonyms.get("requester", ())), "")
    scope, _, name = (row.person or "").partition(" ")
    return LogLine(
        index=row.number,
        time=entry.time,
        kind=entry.kind,
        status=entry.outcome,
        partner_id=partners.get(alias),
        user_id=name if scope == "user" else None,
        application=name if scope == "application" else None,
        erased=entry.details is not None and details is None,
        details=details,
        person=_person_of(entry),
    )


def _person_of(entry: Entry) -> str | None:
    """Return the pseudonym of the person that an entry is about; owners are parties otherwise."""
    names = entry.pseudonyms.get("person") or entry.pseudonyms.get("owner") or ()
    return names[0] if names else None
