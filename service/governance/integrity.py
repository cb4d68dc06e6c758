"""The audit of the stored log: entries, hashes, details and checkpoints belong together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from contract.governance import Integrity
from contract.http import moment
from governance.log.audit import audit
from governance.log.checkpoint import Checkpoint, Note, cosigned_at, verify_checkpoint
from governance.log.entries import Entry
from governance.log.personal_details import details_digest
from service.governance.checkpoints import Checkpoints, cosigners_of
from service.governance.log import DETAILS, ENTRIES, Nodes, columns_of, newest_note
from service.storage.storage import Storage
from settings import Settings
from utils.errors import LogInconsistent, ProofInvalid

FRESH_SECONDS = 2.0
"""Time for which a result is given again without a new audit."""
MOST_AUDITED = 200_000
"""Entries that one audit reads, the oldest first."""
_ROWS = 512


class Audits:
    """Audits of one server's log, one at a time.

    It remembers the largest checkpoint that it has seen, so that a database that is put back to an
    earlier state behind the server's back is found. After a restart, only cosigners remember.
    """

    def __init__(
        self,
        storage: Storage,
        settings: Settings,
        clock: Callable[[], float] = time.time,
        stale_seconds: float = FRESH_SECONDS,
    ) -> None:
        self._storage, self._clock, self._stale = storage, clock, stale_seconds
        self._checkpoints = Checkpoints(storage, settings)
        self._cosigners = cosigners_of(settings)
        self._alone = threading.Lock()
        self._last: tuple[float, Integrity] | None = None
        self._largest: Checkpoint | None = None

    def result(self) -> Integrity:
        """Return the result of an audit that is at most FRESH_SECONDS old."""
        with self._alone:
            now = time.monotonic()
            if self._last is None or now - self._last[0] > self._stale:
                found = self._audit()
                self._last = (time.monotonic(), found)
            return self._last[1]

    def _audit(self) -> Integrity:
        size, checked, root = 0, 0, b""
        fault: str | None = None
        cosigned: dict[str, int] = {}
        try:
            with self._storage.read() as session:
                newest, notes = self._notes(session)
                size, root = newest.size, newest.root
                cosigned = self._cosigned(notes)
                checkpoints = [newest, *(self._valid(note) for note in notes)]
                if self._largest is not None:
                    checkpoints.append(self._largest)
                if size > MOST_AUDITED:
                    checkpoints = [each for each in checkpoints if each.size <= MOST_AUDITED]
                checked = audit(_entries(session), Nodes(session), checkpoints)
                if checked < min(size, MOST_AUDITED):
                    raise LogInconsistent(f"The log has {checked} entries, not {size}.")
            if self._largest is None or newest.size > self._largest.size:
                self._largest = newest
        except (LogInconsistent, ProofInvalid) as error:
            fault = error.message
        except (TypeError, ValueError):  # SQLite stores a value of any type in any column
            fault = "A value of another type was put into the log. Restore it from a backup."
        return Integrity(
            healthy=fault is None,
            fault=fault,
            size=size,
            root=root.hex(),
            entries_checked=checked,
            cosigned=cosigned,
            checked_at=moment(self._clock()),
        )

    def _notes(self, session: Session) -> tuple[Checkpoint, list[Note]]:
        note = newest_note(session)
        if note is None:
            raise LogInconsistent("The log has no checkpoint. Restore the database from a backup.")
        return self._valid(note), self._checkpoints.cosigned(session)

    def _valid(self, note: Note) -> Checkpoint:
        keys = self._storage.log_keys
        try:
            return verify_checkpoint(note, keys.origin, keys.public)
        except ProofInvalid as error:
            raise LogInconsistent(
                "A stored checkpoint was altered: the log's signature does not belong to it. "
                "Restore the database from a backup."
            ) from error

    def _cosigned(self, notes: list[Note]) -> dict[str, int]:
        """Return the largest size that each cosigner has signed."""
        found: dict[str, int] = {}
        for note in notes:
            for name, key in self._cosigners.items():
                if cosigned_at(note, name, key) is not None:
                    found[name] = max(found.get(name, 0), Checkpoint.parse(note.body).size)
        return found


def _entries(session: Session) -> Iterator[bytes]:
    """Yield the bytes of the entries in order, after comparing what is stored beside them."""
    start = 0
    while start < MOST_AUDITED:
        end = min(start + _ROWS, MOST_AUDITED)
        rows = session.execute(
            select(ENTRIES, DETAILS.c.sealed)
            .outerjoin(DETAILS, DETAILS.c.number == ENTRIES.c.number)
            .where(ENTRIES.c.number.between(start, end - 1))
            .order_by(ENTRIES.c.number)
        ).all()
        for expected, row in enumerate(rows, start):
            if row.number != expected:
                raise LogInconsistent(f"Entry {expected} of the log is missing.")
            _require_columns(row)
            yield bytes(row.data)
        if len(rows) < end - start:
            return
        start = end


def _require_columns(row: Row[Any]) -> None:
    try:
        entry = Entry.parse(bytes(row.data))
    except ProofInvalid:
        return  # the audit reports it
    beside = {name: getattr(row, name) for name in columns_of(entry)}
    sealed = row.sealed is None or details_digest(bytes(row.sealed)) == entry.details
    if beside != columns_of(entry) or not sealed:
        raise LogInconsistent(
            f"What is stored beside entry {row.number} of the log was altered. Restore the "
            "database from a backup."
        )
