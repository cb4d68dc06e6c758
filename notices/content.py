"""The content of a notice, from the public schema and the opened results.

A notice names columns and their sources, never values of a record, so that it says nothing that
its reader does not know already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from features.schema import Party, Reason, Schema

REVIEW_DAYS = 30
"""Days in which an applicant may ask for a review, as long as the application has not ended."""


@dataclass(frozen=True)
class Source:
    """A party whose data was used: its address, its contact, and the labels of its columns."""

    name: str
    address: str
    contact: str
    data: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A value of one column from which on the decision would likely have been another.

    `direction` is `more` for `bound` or above, `under` for values below `bound`, and `most` for
    values of at most `bound`, a number without groups of thousands.
    """

    label: str
    direction: Literal["more", "under", "most"]
    bound: str
    unit: str = ""


@dataclass(frozen=True)
class NoticeContent:
    """Everything that a template shows.

    `reasons` is None before the reasons were opened, and empty if no column lies below the average
    of approved applicants. Each entry of `changes` is one change, or two that count together;
    `tried` are the labels of the columns that were varied. `referred` is True if the model referred
    the application to a person, who denied it with `person_words`, if any can be read.
    """

    reference: str
    day: date
    title: str
    approved_word: str
    denied_word: str
    lender: Source
    applicant: Source
    agencies: tuple[Source, ...]
    reasons: tuple[str, ...] | None
    changes: tuple[tuple[Change, ...], ...] = ()
    tried: tuple[str, ...] = ()
    authority: str = ""
    ends: date | None = None
    referred: bool = False
    person_words: str = ""

    @property
    def review_until(self) -> date:
        """The last day on which the applicant may ask for a review.

        That is REVIEW_DAYS after the notice, or earlier if the application ends before.
        """
        last = self.day + timedelta(days=REVIEW_DAYS)
        return last if self.ends is None else min(last, self.ends)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All parties whose data was used."""
        return (self.applicant, self.lender, *self.agencies)


def notice_content(
    schema: Schema,
    reference: str,
    day: date,
    reasons: Sequence[Reason] | None,
    language: str = "en",
    changes: Sequence[tuple[Change, ...]] = (),
    tried: Sequence[str] = (),
    ends: date | None = None,
    person_words: str | None = None,
) -> NoticeContent:
    """Return the content of a notice of `day` about the application `reference`, which `ends` then.

    `reasons` are the principal reasons, the weightiest first, or None if they were not opened.
    `tried` are names of columns. `person_words` are those of the person to whom the application was
    referred, empty if they cannot be read, and None for a decision of the model alone.
    """
    applicant, lender = schema.parties[0], schema.lender
    agencies = (p for p in schema.parties if p.name not in (applicant.name, lender.name))
    return NoticeContent(
        reference=reference,
        day=day,
        title=schema.title,
        approved_word=schema.decision.approved,
        denied_word=schema.decision.denied,
        lender=_source(lender),
        applicant=_source(applicant),
        agencies=tuple(map(_source, agencies)),
        reasons=None if reasons is None else tuple(r.texts.get(language, r.text) for r in reasons),
        changes=tuple(changes),
        tried=tuple(schema.column(name).label for name in tried),
        authority=schema.decision.authority,
        ends=ends,
        referred=person_words is not None,
        person_words=person_words or "",
    )


def _source(party: Party) -> Source:
    labels = tuple(column.label for column in party.columns)
    return Source(party.label, party.address, party.contact, labels)
