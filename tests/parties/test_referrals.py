"""Referred applications over HTTP: the review opens by itself, and a person decides."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from engines.interface import DECIDE, REASONS
from model.referral import outcome_of
from parties.agent import Agent
from parties.client import ServerClient
from parties.connection import Connection
from parties.joint.codes import open_joint
from parties.reviews import Reviews
from parties.store import PartyStore
from tests.parties.running import started, until
from tests.training.referring import deployed, model
from tests.training.risk_data import risk_frame
from ui.agent.notice import show_notice
from ui.agent.panels import decision_panel
from ui.agent.review import ApplicantReview, LenderReviews
from utils.errors import AlreadySent, InvalidRequest

__all__ = ["deployed", "model"]

A, B = "applicant", "bank"


@pytest.fixture(scope="module")
def server(deployed, tmp_path_factory):
    own = started(tmp_path_factory.mktemp("server"), deployed.folder, "levelled")
    yield own
    own.stop()
    assert "Exception in ASGI application" not in own.log()


@pytest.fixture(scope="module")
def agents(server, tmp_path_factory):
    """Return both parties' agents, with a real engine and a folder of each."""
    folder = tmp_path_factory.mktemp("agents")
    clients = [ServerClient(server.url, 60) for _ in (A, B)]
    made = {
        name: Agent(Connection(client, PartyStore(folder / name)), name)
        for name, client in zip((A, B), clients, strict=True)
    }
    yield made
    for agent in made.values():
        agent.close()
    for client in clients:
        client.close()


def record_with(deployed, outcome):
    """Return the first drawn record with an outcome, by party."""
    frame = risk_frame(400, 17)
    frame = frame[frame["debt"].notna()]
    scores = deployed.programs_of("levelled")[DECIDE].scores(deployed.layout.encode_frame(frame))
    row = next(i for i, own in enumerate(scores) if outcome_of(own) == outcome)
    found = frame.iloc[row]
    own = {"income": int(found["income"]), "purpose": found["purpose"]}
    return {A: own, B: {"debt": int(found["debt"])}}


def decided(server, agents, deployed, outcome, readers=None):
    """Play an application to its opened decision; return both parties' parts of it."""
    with ServerClient(server.url, 60) as client:
        opening = open_joint(client, readers)
    played = {name: agents[name].join(opening.codes[name]) for name in (A, B)}
    for part in played.values():
        until(lambda part=part: part.member.keys_ready, 120)
    for name, record in record_with(deployed, outcome).items():
        played[name].send(record)
    for part in played.values():
        part.agree(DECIDE)
    for name in readers or (A, B):
        part = played[name]
        until(lambda part=part: part.member.decision is not None, 120)
    return played


def test_a_referral_opens_a_review_and_a_person_decides(
    server, agents, deployed, monkeypatch, tmp_path
):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    played = decided(server, agents, deployed, "referred")
    applicant, client_id = played[A], played[A].member.client_id
    for part in played.values():
        decision = part.member.decision
        assert decision.referred and not decision.approved and decision.score is None
        until(lambda part=part: part.referral is not None, 60)
    reviews = {name: Reviews(agents[name].connection, name) for name in (A, B)}
    found = reviews[A].of(client_id)
    assert (found.stage, found.referred, found.statement) == ("asked", True, None)
    panel = decision_panel(applicant, agents[A].connection.public)
    assert "Referred to a person" in panel
    day = f"{found.due.day}\u00a0{found.due:%B}\u00a0{found.due.year}"
    assert f"A person at the lender will look at this; you will hear by {day}." in panel
    panel = decision_panel(played[B], agents[B].connection.public)
    assert f"A person at the lender decides by {day}; see the reviews by a person." in panel
    until(lambda: applicant.member.state.review == "asked", 30)
    assert played[B].member.client_id in {review.client_id for review in reviews[B].all()}

    shown, *_ = show_notice(applicant, "us", "en", reviews[A])
    assert "a notice is due only if the application is denied" in shown
    with gr.Blocks():
        asks, gives = ApplicantReview(reviews[A]), LenderReviews(reviews[B])
    said = asks._answer(applicant, lambda each: reviews[A].ask(each, "I pay my debts."))
    assert "Referred on" in said[0] and "I pay my debts." in said[0]
    with pytest.raises(AlreadySent):
        reviews[A].ask(client_id, "Another one.")
    view = gives._view(None)
    assert "Referred to a person" in view[0] and "I pay my debts." in view[2]
    assert [button["value"] for button in view[5:]] == [
        "Deny the application",
        "Approve the application",
    ]
    with pytest.raises(InvalidRequest, match="approved or denied"):
        reviews[B].conclude(client_id, "upheld", "No.")
    closed = gives._conclude(client_id, "upheld", "denied", "The debts are too high.")
    assert "a person has denied the application" in closed[2]

    for part in played.values():
        part.agree(REASONS)
    until(lambda: applicant.member.reasons is not None, 120)
    shown, pdf, _ = show_notice(applicant, "us", "en", reviews[A])
    assert "<iframe" in shown and pdf.value is not None
    assert "who made the decision" in shown and "The debts are too high." in shown
    assert reviews[A].of(client_id).words == "The debts are too high."


def test_a_person_may_approve_and_then_there_is_no_notice(server, agents, deployed):
    """The lender alone reads the decision, so that its agent opens the review."""
    played = decided(server, agents, deployed, "referred", readers=(B,))
    client_id = played[B].member.client_id
    until(lambda: played[B].referral is not None, 60)
    assert played[A].member.decision is None and played[A].referral is None
    reviews = {name: Reviews(agents[name].connection, name) for name in (A, B)}
    assert reviews[A].of(client_id).referred
    reviews[B].take(client_id)
    reviews[B].conclude(client_id, "approved", "Welcome.")
    referred = SimpleNamespace(referred=True, approved=False)
    member = SimpleNamespace(
        decision=referred, client_id=client_id, public=agents[A].connection.public
    )
    shown, *_ = show_notice(SimpleNamespace(member=member), "us", "en", reviews[A])
    assert "approved the application; no notice is due" in shown


@pytest.mark.parametrize("outcome", ["approved", "denied"])
def test_other_decisions_open_no_review(server, agents, deployed, outcome):
    played = decided(server, agents, deployed, outcome)
    for name, part in played.items():
        decision = part.member.decision
        assert (decision.approved, decision.referred) == (outcome == "approved", False)
        assert not part.must_refer and part.referral is None
        assert Reviews(agents[name].connection, name).of(part.member.client_id).stage == "none"
