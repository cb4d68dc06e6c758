"""The bodies of requests and responses about the review of a decision by a person."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contract.http import Body, Moment, RequestBody, ReviewStage

LONGEST_SEALED = 12 * 1024
"""Characters of a sealed text in base64: at most 2,000 characters of text with their sealing."""

OPEN_STAGES = ("asked", "under_review")
"""Stages in which the lender owes an outcome."""

Outcome = Literal["upheld", "changed", "approved", "denied"]

REVIEWED, REFERRED = ("upheld", "changed"), ("approved", "denied")
"""The outcomes of a review of a decision, and of an application that was referred to a person."""

CLOSED_STAGES = (*REVIEWED, *REFERRED)
"""All outcomes."""

Sealed = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_SEALED,
        pattern=r"^[A-Za-z0-9+/]+={0,2}$",
        description="A text in base64, sealed by its sender for the other side; the server cannot "
        "read it.",
    ),
]


class ReviewRequest(RequestBody):
    """The applicant's statement for the lender."""

    statement: Sealed


class OutcomeRequest(RequestBody):
    """The lender's outcome and its words for the applicant.

    A decision is upheld or changed; an application that was referred is approved or denied.
    """

    outcome: Outcome
    words: Sealed


class ReviewState(Body):
    """A review: its stage, its times and its sealed texts, as applicant and lender see them.

    `due_at` is the day by which the lender owes an outcome. `referred` is true if the program
    referred the application to a person; then there may be no statement.
    """

    state: ReviewStage
    referred: bool = False
    asked_at: Moment | None = None
    due_at: Moment | None = None
    taken_at: Moment | None = None
    closed_at: Moment | None = None
    statement: str | None = None
    words: str | None = None
