"""Reports about a period of the log: who asked for what, what was allowed, used and erased.

The input is lines of the operator's view of the log, whose details are readable. A report shows
the pseudonyms of people, and of the details only those members that are known here: a purpose,
names of fields, rules, a reason. Values of a person's data are not in the log, and anything unknown
that a caller has logged is left out.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from governance.log.entries import time_text
from governance.obligations import MOST_DAYS
from utils.errors import InvalidRequest

MOST_ROWS = 20_000
"""Entries in one report."""
LONGEST_DAYS = 366
"""Days of the longest period."""
CONTEXT_DAYS = 1
"""Days before a period whose entries are read as well, for decisions on uses in it."""
PSEUDONYM_DIGITS = 12
LONGEST_REASON = 500
CONSENT = "consent"
"""The action of a standing consent that an owner gives or takes back."""
UNKNOWN_USER = "No agent of this user is registered."
"""The reason of a decision that is logged without details, since its user may be any text."""
_MOST_NAMES = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_REASONS = ("answer", "reason", "refusal", "error")
"""Members of details that say why. An owner's answer comes before the reason of its request."""
_DECISIONS = ("decision", "answer", "permit")
_KEPT_BY_REQUESTER = ("release", "statistic")

RetentionState = Literal["running", "due", "erased", "unknown"]


@dataclass(frozen=True)
class Line:
    """An entry of the log with its details, as far as they are readable.

    `time` is in UTC, as in `2026-11-29T06:28:00Z`. `person` is the pseudonym in the entry, of a
    user or an application, and None if the entry is about nobody.
    """

    index: int
    time: str
    kind: str
    status: str | None = None
    partner_id: str | None = None
    user_id: str | None = None
    application: str | None = None
    person: str | None = None
    erased: bool = False
    details: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Row:
    """An entry as reports and pages show it; an empty text means that the log does not say."""

    index: int
    time: str
    kind: str
    status: str
    partner: str
    person: str
    purpose: str
    action: str
    fields: tuple[str, ...]
    rules: tuple[str, ...]
    reason: str
    request: str
    retention_days: int | None
    erased: bool

    @property
    def day(self) -> str:
        """The day in UTC, as in `2026-11-29`."""
        return self.time[:10]

    @property
    def allowed(self) -> bool:
        """True if the policy or the owner allowed a request, wholly or less than asked for.

        A consent to a partner and a purpose is no request.
        """
        decided = self.kind in ("decision", "answer") and self.action != CONSENT
        return decided and self.status in ("allowed", "reduced")

    @property
    def denied(self) -> bool:
        """True if the policy, the owner or the check of a permit refused."""
        return self.kind in _DECISIONS and self.status == "denied"


@dataclass(frozen=True)
class Period:
    """From `start` up to `end`, which is excluded; both with a time zone."""

    start: datetime
    end: datetime

    @classmethod
    def of_days(cls, first: str, last: str) -> Period:
        """Return the period from the first to the last day, in UTC, both as in `2026-11-29`.

        Raises InvalidRequest.
        """
        try:
            start, end = (
                datetime.strptime(day.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
                for day in (first, last)
            )
            after = end + timedelta(days=1)
        except (ValueError, OverflowError) as error:
            raise InvalidRequest("Write the days of the period as in 2026-11-29.") from error
        if not timedelta(0) < after - start <= timedelta(days=LONGEST_DAYS):
            raise InvalidRequest(
                f"The last day of the period must be the first day or later, and the period at "
                f"most {LONGEST_DAYS} days."
            )
        return cls(start, after)

    @property
    def context_start(self) -> datetime:
        """The time from which lines are needed for a report."""
        return self.start - timedelta(days=CONTEXT_DAYS)

    @property
    def days(self) -> str:
        """The first and the last day."""
        last = self.end - timedelta(seconds=1)
        return f"{self.start:%Y-%m-%d} to {last:%Y-%m-%d}"

    def includes(self, time: str) -> bool:
        """Return True if a time as in the log is in the period."""
        return self.start <= datetime.fromisoformat(time) < self.end


@dataclass(frozen=True)
class Cosigned:
    """A cosigned checkpoint: its size, root in hexadecimal, and when each cosigner signed."""

    size: int
    root: str
    by: Mapping[str, str]


@dataclass(frozen=True)
class Health:
    """The log at the time of the report, and the result of the server's audit of it."""

    size: int
    root: str
    healthy: bool
    fault: str | None
    entries_checked: int
    checked_at: str
    cosigned: Cosigned | None


@dataclass(frozen=True)
class Count:
    """The entries of one day about one partner and purpose."""

    day: str
    partner: str
    purpose: str
    allowed: int
    denied: int
    uses: int
    revocations: int


@dataclass(frozen=True)
class Retention:
    """The time for which the result of a use may be kept, and its state in the log.

    `due` is the time until which the requester may keep the result. In state `erased` the person
    was erased since, with all details about the use; `unknown` means that no rule is known.
    """

    row: Row
    days: int | None
    due: str
    state: RetentionState


@dataclass(frozen=True)
class Report:
    """The report for a period, which governance/report_csv.py and report_pdf.py write."""

    period: Period
    made_at: str
    policy_version: str
    health: Health
    rows: tuple[Row, ...]
    counts: tuple[Count, ...]
    retention: tuple[Retention, ...]
    totals: Mapping[str, int]
    names: bool = False

    @property
    def people(self) -> str:
        """How people are shown."""
        return "user ids, except of erased people" if self.names else "pseudonyms"


def report_of(
    lines: Iterable[Line],
    period: Period,
    health: Health,
    *,
    retention_days: Mapping[str, int],
    policy_version: str,
    made_at: datetime,
    names: bool = False,
) -> Report:
    """Return the report for a period from lines of the log in any order.

    `retention_days` has the days that each rule of the policy allows. With `names`, user ids are
    shown instead of pseudonyms, as far as the people have not been erased. Raises InvalidRequest
    for more than MOST_ROWS entries.
    """
    known = [row_of(line, names=names) for line in sorted(lines, key=lambda line: line.index)]
    rows = tuple(row for row in known if period.includes(row.time))
    if len(rows) > MOST_ROWS:
        raise InvalidRequest(
            f"The log has more than {MOST_ROWS} entries in this period; choose a shorter one."
        )
    now = made_at.astimezone(UTC)
    return Report(
        period=period,
        made_at=time_text(int(now.timestamp())),
        policy_version=policy_version,
        health=health,
        rows=rows,
        counts=_counts(rows),
        retention=_retention(rows, known, retention_days, now),
        totals=totals_of(rows),
        names=names,
    )


def row_of(line: Line, *, names: bool = False) -> Row:
    """Return what may be shown of a line; see the module."""
    details = line.details or {}
    name = line.user_id or line.application
    alias = "" if line.person is None else line.person[:PSEUDONYM_DIGITS]
    reason = next(
        (told for key in _REASONS if (told := _text(details.get(key)))),
        "",
    )
    if line.kind == "decision" and line.details is None and not line.erased:
        reason = UNKNOWN_USER
    if name and not names:
        reason = reason.replace(name, alias or "the person")
    return Row(
        index=line.index,
        time=line.time,
        kind=line.kind,
        status=line.status or "",
        partner=line.partner_id or "",
        person=name if names and name and not line.erased else alias,
        purpose=_text(details.get("purpose"), 80),
        action=_action(line, details),
        fields=_names(details.get("fields")),
        rules=_names(details.get("rules")),
        reason=reason,
        request=_text(details.get("request_id"), 64),
        retention_days=_days(details.get("retention_days")),
        erased=line.erased,
    )


def totals_of(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of entries by what they mean, in the order of reports."""
    kinds = Counter(row.kind for row in rows)
    return {
        "Requests": kinds["request"] + kinds["decision"],
        "Allowed": sum(row.allowed for row in rows),
        "Denied": sum(row.denied for row in rows),
        "Permits": sum(row.kind == "permit" and not row.denied for row in rows),
        "Uses": kinds["use"],
        "Revocations": kinds["revocation"],
        "Erasures": kinds["erasure"],
        "Policy changes": kinds["policy_change"],
    }


def _counts(rows: Iterable[Row]) -> tuple[Count, ...]:
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind in (*_DECISIONS, "use", "revocation"):
            groups[row.day, row.partner, row.purpose].append(row)
    return tuple(
        Count(
            *key,
            allowed=sum(row.allowed for row in group),
            denied=sum(row.denied for row in group),
            uses=sum(row.kind == "use" for row in group),
            revocations=sum(row.kind == "revocation" for row in group),
        )
        for key, group in sorted(groups.items())
    )


def _retention(
    rows: Iterable[Row], known: Iterable[Row], allowed: Mapping[str, int], now: datetime
) -> tuple[Retention, ...]:
    """Return the retention of each use whose result a requester keeps."""
    decided: dict[str, int] = {}
    for row in known:
        days = [allowed[rule] for rule in row.rules if rule in allowed]
        if row.request and days and row.allowed:
            decided[row.request] = min(days)
    found = []
    for row in rows:
        kept = row.action in _KEPT_BY_REQUESTER or (row.erased and row.partner)
        if row.kind == "use" and row.status == "done" and kept:
            days_allowed = row.retention_days
            if days_allowed is None:
                days_allowed = decided.get(row.request)
            found.append(_kept(row, days_allowed, now))
    return tuple(found)


def _kept(row: Row, days: int | None, now: datetime) -> Retention:
    if row.erased:
        return Retention(row, None, "", "erased")
    if days is None:
        return Retention(row, None, "", "unknown")
    due = datetime.fromisoformat(row.time) + timedelta(days=days)
    state: RetentionState = "due" if due <= now else "running"
    return Retention(row, days, time_text(int(due.timestamp())), state)


def _action(line: Line, details: Mapping[str, Any]) -> str:
    said = _text(details.get("action") or details.get("program"), 40)
    if not said and "state" in details and line.kind in ("answer", "revocation"):
        return CONSENT
    # The gateway's entries do not name the action, since they are all about releases.
    released = line.kind in ("decision", "use") and line.partner_id and "fields" in details
    return said or ("release" if released else "")


def _text(value: object, longest: int = LONGEST_REASON) -> str:
    """Return a text in one line without control characters; empty for anything else."""
    return (
        _CONTROL.sub(" ", value[: 2 * longest]).strip()[:longest] if isinstance(value, str) else ""
    )


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return ()
    found = (_text(each, 80) for each in value[:_MOST_NAMES])
    return tuple(each for each in found if each)


def _days(value: object) -> int | None:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_DAYS
    return value if known and isinstance(value, int) else None
