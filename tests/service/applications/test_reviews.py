"""A review: who may ask, take and conclude it, when, and what is kept for it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import update

from engines.interface import PublicModel
from service.applications.reviews import DAY, KEPT_DAYS, Reviews
from service.garbage_collector import sweep
from service.storage.tables import DONE, RunRecord
from tests.service.driver import PUBLIC, Server, refused
from tests.service.played import Played
from utils.errors import (
    AlreadySent,
    ApplicationExpired,
    ForbiddenSlot,
    InvalidRequest,
    NotAuthorised,
    OutOfStep,
    TooManyApplications,
)

APPLICANT, LENDER, AGENCY = PUBLIC.schema_.party_names
STATEMENT, OTHER, WORDS = "c2VhbGVk", "b3RoZXI=", "d29yZHM="
HOUR = 3600.0


def _with_zone() -> PublicModel:
    decision = PUBLIC.schema_.decision.model_copy(update={"refer_below": 1.0})
    return PUBLIC.model_copy(
        update={"schema_": PUBLIC.schema_.model_copy(update={"decision": decision})}
    )


GREY = _with_zone()
"""The public model with a grey zone."""


class Decided:
    """An application whose decision was computed, and every party's token."""

    def __init__(self, played: Played, public: PublicModel = PUBLIC) -> None:
        self.played = played
        self.reviews = Reviews(played.storage, public, played.settings, clock=played.clock)
        opened = played.applications.open()
        self.client_id = opened.client_id
        self.tokens = {
            party: played.party_tokens.join(opened.client_id, party, code).token
            for party, code in opened.join_codes.items()
        }

    def decide(self) -> Decided:
        """Mark the decision as computed, as a worker does."""
        with self.played.storage.write() as session:
            session.execute(
                update(RunRecord)
                .where(RunRecord.client_id == self.client_id)
                .where(RunRecord.program == PUBLIC.final("decide"))
                .values(status=DONE)
            )
        return self

    def ask(self, party: str = APPLICANT, statement: str = STATEMENT) -> Any:
        return self.reviews.ask(self.client_id, self.tokens[party], statement)

    def refer(self, party: str = LENDER) -> Any:
        return self.reviews.refer(self.client_id, self.tokens[party])

    def take(self, party: str = LENDER) -> Any:
        return self.reviews.take(self.client_id, self.tokens[party])

    def conclude(self, outcome: str = "changed", party: str = LENDER) -> Any:
        return self.reviews.conclude(self.client_id, self.tokens[party], outcome, WORDS)

    def stage(self) -> str:
        return self.played.applications.state(self.client_id).review


@pytest.fixture
def decided(played: Played) -> Decided:
    return Decided(played).decide()


def test_a_review_goes_from_the_applicant_to_the_lender_and_back(decided: Decided) -> None:
    assert decided.stage() == "none"
    asked = decided.ask()
    assert (asked.state, asked.statement, decided.stage()) == ("asked", STATEMENT, "asked")
    days = datetime.fromisoformat(asked.due_at) - datetime.fromisoformat(asked.asked_at)
    assert days.days == decided.played.settings.review_days
    decided.played.clock.now += HOUR
    taken = decided.take()
    assert decided.take() == taken and taken.state == decided.stage() == "under_review"
    decided.played.clock.now += HOUR
    closed = decided.conclude()
    assert decided.conclude() == closed
    assert (closed.state, closed.words, decided.stage()) == ("changed", WORDS, "changed")
    assert closed.asked_at < closed.taken_at < closed.closed_at
    for party in (APPLICANT, LENDER):
        assert decided.reviews.state(decided.client_id, decided.tokens[party]) == closed


def test_every_call_is_for_one_party(decided: Decided) -> None:
    for party in (LENDER, AGENCY):
        with pytest.raises(ForbiddenSlot, match=f"Only {APPLICANT} can ask for a review"):
            decided.ask(party)
    decided.ask()
    for party in (APPLICANT, AGENCY):
        with pytest.raises(ForbiddenSlot):
            decided.take(party)
        with pytest.raises(ForbiddenSlot):
            decided.conclude(party=party)
    with pytest.raises(ForbiddenSlot):
        decided.reviews.state(decided.client_id, decided.tokens[AGENCY])
    with pytest.raises(NotAuthorised):
        decided.reviews.state(decided.client_id, "x" * 43)
    assert decided.stage() == "asked"


def test_the_order_of_steps_is_kept(played: Played) -> None:
    early = Decided(played)
    with pytest.raises(OutOfStep, match="no decision to review yet"):
        early.ask()
    early.decide()
    with pytest.raises(OutOfStep, match="has not asked"):
        early.take()
    with pytest.raises(OutOfStep, match="has not asked"):
        early.conclude()
    assert early.ask() == early.ask()
    with pytest.raises(AlreadySent, match="another statement"):
        early.ask(statement=OTHER)
    early.conclude("upheld")  # without taking it first: it is taken at once
    with pytest.raises(OutOfStep, match="concluded"):
        early.take()
    with pytest.raises(AlreadySent, match="another outcome"):
        early.conclude("changed")
    assert early.stage() == "upheld"


def test_an_application_is_kept_for_its_review(decided: Decided) -> None:
    played, client_id = decided.played, decided.client_id
    other = Decided(played).decide()
    usual = played.settings.application_hours * HOUR
    decided.ask()
    played.clock.now += usual + 1
    assert sweep(played.storage, played.clock()).applications == [other.client_id]
    # Tokens live as long, so that the lender can conclude it on the last day, and later.
    played.clock.now += played.settings.review_days * DAY
    decided.take()
    decided.conclude("upheld")
    played.clock.now += KEPT_DAYS * DAY
    assert sweep(played.storage, played.clock()).applications == [client_id]
    with pytest.raises(ApplicationExpired):
        decided.reviews.state(client_id, decided.tokens[APPLICANT])


def test_reviews_do_not_close_the_server_for_others(played: Played) -> None:
    """Reviews could otherwise fill the server for months, and anyone may open applications."""
    played.settings.maximum_applications = 2
    first, second = Decided(played).decide(), Decided(played).decide()
    with pytest.raises(TooManyApplications):
        Decided(played)
    first.ask()
    second.ask()
    third = Decided(played).decide()
    with pytest.raises(TooManyApplications, match="keeps 2 applications for reviews"):
        third.ask()
    assert third.stage() == "none" and first.ask().state == "asked"
    played.applications.remove(first.client_id, first.tokens[APPLICANT])
    assert third.ask().state == "asked"


def test_only_the_applicant_erases_an_application_under_review(decided: Decided) -> None:
    applications = decided.played.applications
    decided.ask()
    for party in (LENDER, AGENCY):
        with pytest.raises(OutOfStep, match="Conclude the review first"):
            applications.remove(decided.client_id, decided.tokens[party])
    applications.remove(decided.client_id, decided.tokens[APPLICANT])
    concluded = Decided(decided.played).decide()
    concluded.ask()
    concluded.conclude()
    applications.remove(concluded.client_id, concluded.tokens[AGENCY])


def test_a_referral_opens_a_review_which_ends_as_approved_or_denied(played: Played) -> None:
    early = Decided(played, GREY)
    with pytest.raises(OutOfStep, match="no decision to review yet"):
        early.refer()
    early.decide()
    with pytest.raises(ForbiddenSlot, match="can open a review"):
        early.refer(AGENCY)
    with pytest.raises(NotAuthorised):
        early.reviews.refer(early.client_id, "x" * 43)
    referred = early.refer()
    assert (referred.state, referred.referred, referred.statement) == ("asked", True, None)
    assert early.refer(APPLICANT) == referred and early.stage() == "asked"
    said = early.ask()
    assert (said.statement, said.referred, said.due_at) == (STATEMENT, True, referred.due_at)
    assert early.ask() == said
    with pytest.raises(AlreadySent, match="another statement"):
        early.ask(statement=OTHER)
    assert early.take().state == "under_review"
    for outcome in ("upheld", "changed"):
        with pytest.raises(InvalidRequest, match="approved or denied"):
            early.conclude(outcome)
    closed = early.conclude("denied")
    assert early.conclude("denied") == closed and early.stage() == "denied"
    with pytest.raises(AlreadySent, match="another outcome"):
        early.conclude("approved")
    assert early.refer().state == "denied"


def test_a_review_that_was_asked_for_is_no_referral(played: Played) -> None:
    asked = Decided(played, GREY).decide()
    asked.ask()
    assert asked.refer().referred is False
    with pytest.raises(InvalidRequest, match="upheld or changed"):
        asked.conclude("approved")
    late = Decided(played, GREY).decide()
    late.refer()
    late.conclude("approved")  # without a statement
    with pytest.raises(AlreadySent):
        late.ask()


def test_a_model_without_a_grey_zone_refers_nobody(decided: Decided) -> None:
    for party in (APPLICANT, LENDER):
        with pytest.raises(OutOfStep, match="refers no application"):
            decided.refer(party)
    assert decided.stage() == "none"


def test_a_review_over_http(server: Server) -> None:
    application = server.filled()
    path = f"/applications/{application.client_id}/review"

    def post(party: str, more: str = "", **body: Any) -> Any:
        return server.http.post(path + more, json=body or None, headers=application.auth(party))

    refused(post(APPLICANT, statement=STATEMENT), 409, "out-of-step")
    application.permit()
    application.run()
    refused(post(APPLICANT, statement="no base64!"), 422, "invalid-request")
    refused(post(APPLICANT, statement="A" * 20_000), 422, "invalid-request")
    refused(post(LENDER, statement=STATEMENT), 403, "forbidden-slot")
    assert post(APPLICANT, statement=STATEMENT).json()["state"] == "asked"
    assert application.state()["review"] == "asked"
    assert post(LENDER, "/take").json()["state"] == "under_review"
    refused(post(APPLICANT, "/outcome", outcome="changed", words=WORDS), 403, "forbidden-slot")
    refused(post(LENDER, "/outcome", outcome="asked", words=WORDS), 422, "invalid-request")
    assert post(LENDER, "/outcome", outcome="changed", words=WORDS).json()["words"] == WORDS
    found = server.http.get(path, headers=application.auth(APPLICANT)).json()
    assert (found["state"], found["statement"], found["words"]) == ("changed", STATEMENT, WORDS)
    traffic = server.http.get(
        f"/applications/{application.client_id}/traffic", headers=application.auth(APPLICANT)
    ).json()
    kinds = [item["what"] for item in traffic["items"]]
    assert [kind for kind in kinds if kind.startswith("review")] == [
        *("review: asked", "review: begun", "review: changed")
    ]
