"""The filters of the compliance page: by partner, purpose, person, kind, status and time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from contract.governance import LogKind, LogStatus
from governance.purposes import PURPOSES, purpose_words
from governance.reports import PSEUDONYM_DIGITS
from ui.compliance.feed import Entry

ANY = ""
PARTIES = "(the parties)"
"""The choice for entries without a partner."""
TIMES = {
    "Any time": None,
    "Last hour": timedelta(hours=1),
    "Last day": timedelta(days=1),
    "Last 7 days": timedelta(days=7),
    "Last 30 days": timedelta(days=30),
}
KINDS: tuple[str, ...] = get_args(LogKind)
STATUSES: tuple[str, ...] = get_args(LogStatus)
Choices = list[tuple[str, str]]


@dataclass(frozen=True)
class Filters:
    """The entries to show; an empty text does not filter.

    `person` is the beginning of a pseudonym, or a whole user id or application.
    """

    partner: str = ANY
    purpose: str = ANY
    person: str = ANY
    kind: str = ANY
    status: str = ANY
    time: str = "Any time"

    def matching(self, entries: Iterable[Entry], now: datetime) -> list[Entry]:
        """Return the entries that match, in the same order; `now` has a time zone."""
        span = TIMES.get(self.time)
        since = None if span is None else now - span
        return [entry for entry in entries if self._matches(entry, since)]

    def _matches(self, entry: Entry, since: datetime | None) -> bool:
        row = entry.row
        partner = row.partner or PARTIES
        return (
            self.partner in (ANY, partner)
            and self.purpose in (ANY, row.purpose)
            and self.kind in (ANY, row.kind)
            and self.status in (ANY, row.status)
            and (since is None or datetime.fromisoformat(row.time) >= since)
            and self._is_about(entry)
        )

    def _is_about(self, entry: Entry) -> bool:
        wanted, line = self.person.strip(), entry.line
        if not wanted:
            return True
        alias = (line.person or "")[:PSEUDONYM_DIGITS]
        return bool(alias and alias.startswith(wanted.lower()[:PSEUDONYM_DIGITS])) or wanted in (
            line.user_id,
            line.application,
        )


def partner_choices(entries: Iterable[Entry]) -> Choices:
    """Return the choices of the filter by partner: all partners that occur."""
    found = sorted({entry.row.partner or PARTIES for entry in entries})
    return [("Any partner", ANY), *((name, name) for name in found)]


def purpose_choices(entries: Iterable[Entry]) -> Choices:
    """Return the choices of the filter by purpose: all purposes that occur, in words."""
    found = sorted({entry.row.purpose for entry in entries if entry.row.purpose})
    return [("Any purpose", ANY), *((purpose_label(term), term) for term in found)]


def purpose_label(term: str) -> str:
    """Return a purpose in words, with its term."""
    return f"{purpose_words(term)} ({term})" if term in PURPOSES else term


def word_choices(every: str, words: Sequence[str]) -> Choices:
    """Return the choices of a filter by one of `words`."""
    return [(every, ANY), *((word.replace("_", " "), word) for word in words)]
