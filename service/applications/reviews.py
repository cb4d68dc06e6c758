"""Reviews of decisions by a person, which the applicant asks for and the lender gives.

    none --ask (applicant)--> asked --take (lender)--> under_review --conclude--> upheld | changed
    none --refer (either)--> asked --take (lender)--> under_review --conclude--> approved | denied

A decision with a grey zone may refer the application to a person. The server cannot read that, so
the applicant's or the lender's agent opens the review as soon as it reads the decision. The
applicant may add a statement to it.
The statement and the outcome's words are sealed from one party to the other; the server stores them
and their times. While a review is open, the application is kept beyond its usual end, and only
the applicant may erase it. This module is independent of HTTP; its methods are synchronous and
thread-safe.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, insert, select, update

from contract.http import moment
from contract.reviews import OPEN_STAGES, REFERRED, REVIEWED, ReviewState
from engines.interface import DECIDE
from service.applications.activity_log import note
from service.applications.applications import FULL_SECONDS
from service.applications.base import ApplicationService
from service.applications.credentials import READ, SEND, bearer_of
from service.applications.rules import count_reviewed, run_of, seen
from service.applications.views import ApplicationView
from service.storage.storage import OPENING
from service.storage.tables import (
    DONE,
    ApplicationRecord,
    ReviewRecord,
    TokenRecord,
    table_of,
)
from utils.errors import (
    AlreadySent,
    ForbiddenSlot,
    InvalidRequest,
    OutOfStep,
    TooManyApplications,
)

DAY = 24 * 3600.0
KEPT_DAYS = 30.0
"""Days for which an application is kept after the day on which the outcome of its review is due."""
_APPLICATIONS, _TOKENS = table_of(ApplicationRecord), table_of(TokenRecord)
_REVIEWS = table_of(ReviewRecord)


class Reviews(ApplicationService):
    """The reviews of all applications.

    Every method raises InvalidRequest for an id that is not 32 hexadecimal digits,
    UnknownApplication, ApplicationExpired, NotAuthorised, ForbiddenScope, and ForbiddenSlot for a
    party to which the call is not open.
    """

    @property
    def _applicant(self) -> str:
        return self._public.schema_.party_names[0]

    @property
    def _lender(self) -> str:
        return self._public.schema_.lender.name

    def state(self, client_id: str, token: str | None) -> ReviewState:
        """Return the review; only the applicant and the lender may see it."""
        now = self._clock()
        with self._storage.read() as session:
            application = seen(session, client_id, now)
            party = bearer_of(application, token, READ, now)
            _require(party, (self._applicant, self._lender), "see")
            return _shown(_row(application))

    def ask(self, client_id: str, token: str | None, statement: str) -> ReviewState:
        """Ask for a review of the decision, with a sealed statement.

        The application and its tokens then end KEPT_DAYS after the day on which the outcome is due,
        unless they end later anyway. Raises OutOfStep before the decision has been computed,
        AlreadySent if another statement was sent, and TooManyApplications.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = seen(session, client_id, now, lock=True)
            party = bearer_of(application, token, SEND, now)
            _require(party, (self._applicant,), "ask for")
            row = _row(application)
            if row is not None and row.statement is None and row.state in OPEN_STAGES:
                self._change(application, state=row.state, statement=statement)
                way = (party, self._lender)
                note(session, client_id, now, way, "review: statement", len(statement))
                return _shown(_row(application))
            if row is not None:
                if row.statement == statement:
                    return _shown(row)
                raise AlreadySent("A review was asked for already, with another statement.")
            return self._opened(application, party, now, referred=False, statement=statement)

    def refer(self, client_id: str, token: str | None) -> ReviewState:
        """Open the review of an application that the decision refers to a person.

        The call of the applicant or of the lender, whichever reads the decision first; the second
        one changes nothing, and neither does one after a review was asked for. Kept as long as by
        `ask`. Raises OutOfStep before the decision has been computed or if the model refers no
        application, and TooManyApplications.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = seen(session, client_id, now, lock=True)
            party = bearer_of(application, token, SEND, now)
            _require(party, (self._applicant, self._lender), "open")
            row = _row(application)
            if row is not None:
                return _shown(row)
            if self._public.schema_.decision.refer_below is None:
                raise OutOfStep("This model approves or denies, and refers no application.")
            return self._opened(application, party, now, referred=True, statement=None)

    def _opened(
        self,
        application: ApplicationView,
        party: str,
        now: float,
        *,
        referred: bool,
        statement: str | None,
    ) -> ReviewState:
        """Open a review by `party` and return it."""
        session, client_id = application.session, application.client_id
        if run_of(application, self._public.final(DECIDE)).status != DONE:
            raise OutOfStep("There is no decision to review yet.")
        self._require_place(application, now)
        due = now + self._settings.review_days * DAY
        values = {"client_id": client_id, "state": "asked", "asked": now, "due": due}
        session.execute(insert(_REVIEWS), {**values, "referred": referred, "statement": statement})
        _keep_until(application, due + KEPT_DAYS * DAY)
        what = "review: referred" if referred else "review: asked"
        note(session, client_id, now, (party, self._lender), what, len(statement or ""))
        self._set(application, "asked")
        return _shown(_row(application))

    def take(self, client_id: str, token: str | None) -> ReviewState:
        """Begin the review that was asked for; repeated calls change nothing.

        Raises OutOfStep if none was asked for, or if it is concluded.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = seen(session, client_id, now, lock=True)
            row = self._open(application, token, now)
            if row.state == "asked":
                self._change(application, state="under_review", taken=now)
                way = (self._lender, self._applicant)
                note(session, client_id, now, way, "review: begun", 0)
            return _shown(_row(application))

    def conclude(self, client_id: str, token: str | None, outcome: str, words: str) -> ReviewState:
        """Record the outcome, with sealed words for the applicant.

        That is `upheld` or `changed`, or for a referred application `approved` or `denied`. Raises
        OutOfStep if no review was asked for, AlreadySent if there is another outcome, and
        InvalidRequest for an outcome that this review cannot have.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = seen(session, client_id, now, lock=True)
            row = _row(application)
            if row is not None and row.state not in OPEN_STAGES:
                _require(bearer_of(application, token, SEND, now), (self._lender,), "conclude")
                if (row.state, row.words) == (outcome, words):
                    return _shown(row)
                raise AlreadySent("The review has another outcome already.")
            row = self._open(application, token, now)
            possible = REFERRED if row.referred else REVIEWED
            if outcome not in possible:
                raise InvalidRequest(f"This review ends as {' or '.join(possible)}.")
            taken = now if row.taken is None else row.taken
            self._change(application, state=outcome, taken=taken, closed=now, words=words)
            way = (self._lender, self._applicant)
            note(session, client_id, now, way, f"review: {outcome}", len(words))
            return _shown(_row(application))

    def _require_place(self, application: ApplicationView, now: float) -> None:
        most = self._settings.maximum_applications
        self._storage.lock(application.session, OPENING)
        if count_reviewed(application.session, now) >= most:
            raise TooManyApplications(
                f"The server keeps {most} applications for reviews, its maximum "
                "(TRISEAL_MAXIMUM_APPLICATIONS). Write to the lender, or try again later.",
                FULL_SECONDS,
            )

    def _open(self, application: ApplicationView, token: str | None, now: float) -> Row[Any]:
        """Return the open review, for the lender; raises OutOfStep."""
        _require(bearer_of(application, token, SEND, now), (self._lender,), "conduct")
        row = _row(application)
        if row is None or row.state not in OPEN_STAGES:
            raise OutOfStep(
                "The applicant has not asked for a review."
                if row is None
                else "The review is concluded."
            )
        return row

    def _change(self, application: ApplicationView, **values: object) -> None:
        this = _REVIEWS.c.client_id == application.client_id
        application.session.execute(update(_REVIEWS).where(this).values(**values))
        self._set(application, str(values["state"]))

    def _set(self, application: ApplicationView, state: str) -> None:
        """Show the stage in the application's state, and wake those who wait for it."""
        this = _APPLICATIONS.c.client_id == application.client_id
        application.session.execute(update(_APPLICATIONS).where(this).values(review=state))
        self._storage.announce(application.session, application.client_id)


def _row(application: ApplicationView) -> Row[Any] | None:
    own = select(_REVIEWS).where(_REVIEWS.c.client_id == application.client_id)
    return application.session.execute(own).one_or_none()


def _require(party: str, allowed: tuple[str, ...], verb: str) -> None:
    if party not in allowed:
        raise ForbiddenSlot(f"Only {' and '.join(allowed)} can {verb} a review, not {party}.")


def _keep_until(application: ApplicationView, end: float) -> None:
    """Let the application, and the tokens that end with it, end no earlier than `end`."""
    if end <= application.expires:
        return
    session, client_id = application.session, application.client_id
    this = _APPLICATIONS.c.client_id == client_id
    session.execute(update(_APPLICATIONS).where(this).values(expires=end))
    same = (_TOKENS.c.client_id == client_id) & (_TOKENS.c.expires >= application.expires)
    session.execute(update(_TOKENS).where(same).values(expires=end))


def _shown(row: Row[Any] | None) -> ReviewState:
    if row is None:
        return ReviewState(state="none")
    return ReviewState(
        state=row.state,
        referred=row.referred,
        asked_at=moment(row.asked),
        due_at=moment(row.due),
        taken_at=None if row.taken is None else moment(row.taken),
        closed_at=None if row.closed is None else moment(row.closed),
        statement=row.statement,
        words=row.words,
    )
