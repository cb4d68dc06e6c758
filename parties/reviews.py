"""Reviews of decisions by a person, from the side of the applicant and of the lender."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from contract.http import ReviewStage
from contract.reviews import CLOSED_STAGES, OPEN_STAGES, Outcome, ReviewState
from features.schema import Schema
from parties.connection import Connection
from parties.expiry import read_expiry, write_expiry
from parties.joint.files import MemberFiles
from parties.joint.review_texts import STATEMENT, ReviewTexts, words_on
from parties.store import REVIEW_KEY
from utils.errors import (
    ApplicationExpired,
    NotAuthentic,
    NotAuthorised,
    OutOfStep,
    UnknownApplication,
)


@dataclass(frozen=True)
class Review:
    """A review with its texts opened; times are in UTC, None before they come.

    `referred` is True if the program referred the application to a person.
    `unreadable` tells that a text could not be opened: then the stage is the server's word only, as
    the lender's words are sealed together with the outcome.
    """

    client_id: str
    stage: ReviewStage
    referred: bool = False
    asked: datetime | None = None
    due: datetime | None = None
    taken: datetime | None = None
    closed: datetime | None = None
    statement: str | None = None
    words: str | None = None
    unreadable: bool = False

    @property
    def open(self) -> bool:
        """True as long as the lender owes an outcome."""
        return self.stage in OPEN_STAGES

    def overdue(self, now: datetime) -> bool:
        """Return True if the outcome was due before `now`."""
        return self.open and self.due is not None and self.due < now


class Reviews:
    """The reviews of the applications in a party's folder.

    Works from the party's files, also for applications that no process plays any more. Every method
    that takes an id raises NotAuthorised if the party has not joined the application, and the
    errors that the server reports.
    """

    def __init__(self, connection: Connection, party: str) -> None:
        self._connection, self._party = connection, party

    @property
    def schema(self) -> Schema:
        """The schema of the server's model."""
        return self._connection.public.schema_

    @property
    def asks(self) -> bool:
        """True for the applicant."""
        return self._party == self._connection.public.schema_.party_names[0]

    @property
    def gives(self) -> bool:
        """True for the lender."""
        return self._party == self._connection.public.schema_.lender.name

    def of(self, client_id: str) -> Review:
        """Return the review of an application; its stage is `none` before one is asked for."""
        found = self._connection.client.review(client_id, self._files(client_id).token())
        return self._opened(client_id, found)

    def ask(self, client_id: str, statement: str) -> Review:
        """Ask for a review; `statement` is for the lender alone.

        Raises InvalidRequest for a text that is too long, and OutOfStep before the decision.
        """
        sealed = self._texts(client_id).seal(STATEMENT, statement)
        token = self._files(client_id).token()
        return self._opened(
            client_id, self._connection.client.ask_for_review(client_id, token, sealed)
        )

    def refer(self, client_id: str) -> Review:
        """Open the review of an application that the decision refers to a person.

        For the applicant and the lender; raises OutOfStep before the decision.
        """
        token = self._files(client_id).token()
        return self._opened(client_id, self._connection.client.refer(client_id, token))

    def take(self, client_id: str) -> Review:
        """Tell the applicant that a person reviews the decision."""
        token = self._files(client_id).token()
        return self._opened(client_id, self._connection.client.take_review(client_id, token))

    def conclude(self, client_id: str, outcome: Outcome, words: str) -> Review:
        """Conclude a review with `words` for the applicant.

        A decision is upheld or changed, a referred application approved or denied.
        """
        sealed = self._texts(client_id).seal(words_on(outcome), words)
        token = self._files(client_id).token()
        found = self._connection.client.conclude_review(client_id, token, outcome, sealed)
        return self._opened(client_id, found)

    def all(self) -> list[Review]:
        """Return the reviews of all applications in the folder: the open ones first, by due date.

        Applications that have ended are left out.
        """
        found = []
        for client_id in self._connection.store.applications(self._party):
            try:
                review = self.of(client_id)
            except (ApplicationExpired, UnknownApplication, NotAuthorised):
                continue
            if review.stage != "none":
                found.append(review)
        last = datetime.max.replace(tzinfo=UTC)
        return sorted(found, key=lambda each: (not each.open, each.due or last))

    def _files(self, client_id: str) -> MemberFiles:
        return MemberFiles(self._connection.store, client_id, self._party)

    def _texts(self, client_id: str) -> ReviewTexts:
        key = self._files(client_id).read(REVIEW_KEY)
        if key is None:
            raise OutOfStep(
                "There is no decision to review yet: all parties have to open it first."
            )
        return ReviewTexts(key, client_id)

    def _opened(self, client_id: str, state: ReviewState) -> Review:
        self._keep_for(client_id, state)
        texts: list[str | None] = []
        unreadable = state.state in CLOSED_STAGES and state.words is None
        for kind, sealed in ((STATEMENT, state.statement), (words_on(state.state), state.words)):
            texts.append(None)
            if sealed is None:
                continue
            try:
                texts[-1] = self._texts(client_id).open(kind, sealed)
            except (NotAuthentic, OutOfStep):
                unreadable = True
        return Review(
            client_id,
            state.state,
            state.referred,
            _time(state.asked_at),
            _time(state.due_at),
            _time(state.taken_at),
            _time(state.closed_at),
            texts[0],
            texts[1],
            unreadable,
        )

    def _keep_for(self, client_id: str, state: ReviewState) -> None:
        """Keep the token and the key for a review beyond the end of this party's other files."""
        due, store = _time(state.due_at), self._connection.store
        expiry = read_expiry(store, client_id, self._party)
        if due is None or expiry is None or expiry.reviewed:
            return
        until = max(expiry.until or 0.0, due.timestamp())
        kept = expiry.model_copy(update={"until": until, "reviewed": True})
        write_expiry(store, client_id, self._party, kept)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
