"""The applicant's notice of a denial, and the review that it may ask the lender for."""

from __future__ import annotations

import html
import json
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from engines.interface import DECIDE, EXPLAIN, REASONS
from features.schema import OrdinalColumn
from parties.joint.listing import listed_applications
from parties.reviews import Reviews
from tests.parties.joint.running import http_group, joint_server
from tests.pdf_text import pdf_text
from ui.agent.notice import show_notice
from ui.agent.review import ApplicantReview, LenderReviews
from ui.agent.saving import saved_file
from utils.errors import OutOfStep

__all__ = ["http_group", "joint_server"]

A, B = "applicant", "bank"
SAID = "Nine years, <b>not two</b>."


def changes_to(members, approved):
    """Return changes of the default records: the stand-in's score is the number of bits set."""
    changed = {
        party.name: {
            column.name: column.maximum if approved else column.minimum
            for column in party.columns
            if isinstance(column, OrdinalColumn)
        }
        for party in members.schema.parties
    }
    assert (members.truth(DECIDE, **changed)[0] >= 0) is approved
    return changed


def decided(http_group, approved):
    members = http_group()
    members.pump().send(**changes_to(members, approved))
    members.agree(DECIDE).pump()
    return members


def test_a_denial_has_a_notice_with_reasons_once_they_are_opened(http_group, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    members = decided(http_group, approved=False)
    application = SimpleNamespace(member=members[A])
    reviews = Reviews(members.connections[A], A)
    shown, pdf, page = show_notice(application, "us", "en", reviews)
    assert "Without the reasons and the explanation so far" in shown
    assert "have not been computed yet" in html.unescape(shown)
    for program in (REASONS, EXPLAIN):
        members.agree(program).pump()
    shown, pdf, page = show_notice(application, "eu", "de", reviews)
    text = html.unescape(shown)
    assert "Hauptgründe" in text and "noch nicht berechnet" not in text
    for reason in members[A].reasons.reasons:
        assert html.escape(reason.texts.get("de", reason.text)) in text
    assert 'sandbox=""' in shown and "<script" not in shown
    files = {button.value["path"] if isinstance(button.value, dict) else button.value
             for button in (pdf, page)}  # fmt: skip
    by_end = {Path(path).suffix: Path(path) for path in files}
    assert "Hauptgründe" in pdf_text(by_end[".pdf"].read_bytes())
    assert by_end[".html"].read_text("utf-8") in text


@pytest.mark.parametrize(("application", "says"), [(None, "no decision yet")])
def test_without_a_denial_there_is_no_notice(application, says, http_group):
    members = decided(http_group, approved=True)
    reviews = Reviews(members.connections[A], A)
    shown, pdf, page = show_notice(application, "us", "en", reviews)
    assert says in shown and not pdf.visible and not page.visible
    shown, *_ = show_notice(SimpleNamespace(member=members[A]), "us", "en", reviews)
    assert "was approved; no notice is due" in shown


def test_a_review_is_asked_for_and_concluded_on_two_pages(http_group):
    members = decided(http_group, approved=False)
    client_id = members.opening.client_id
    with gr.Blocks():
        asks = ApplicantReview(Reviews(members.connections[A], A))
        gives = LenderReviews(Reviews(members.connections[B], B))
    application = SimpleNamespace(member=members[A])

    def ask(text):
        return asks._answer(application, lambda each: asks._reviews.ask(each, text))[0]

    assert "no decision to review yet" in asks._answer(None, asks._reviews.of)[0]
    assert "No application waits for a person" in gives._view(None)[0]
    assert 'role="alert"' in ask("  ")
    panel = ask(SAID)
    assert "waiting for the lender" in panel and html.escape(SAID, quote=False) in panel
    table, _, panel, words, take, uphold, change = gives._view(None)
    assert client_id[:8] in table and html.escape(SAID, quote=False) in panel
    assert words["visible"] and take["visible"] and uphold["visible"] and change["visible"]
    refused = gives._do(client_id, lambda each: gives._reviews.conclude(each, "changed", ""))
    assert "Write 1 to 2000 characters" in refused[2]
    _, _, panel, _, take, *_ = gives._do(client_id, gives._reviews.take)
    assert "A person is reviewing" in panel and not take["visible"]
    _, _, panel, words, *_ = gives._do(
        client_id, lambda each: gives._reviews.conclude(each, "changed", "You are right.")
    )
    assert "decides otherwise" in panel and not words["visible"]
    panel, statement, button = asks._answer(application, asks._reviews.of)
    assert "You are right." in panel and not statement["visible"] and not button["visible"]


def listed(members, party):
    connection = members.connections[party]
    (one,) = listed_applications(connection.store, connection.public, party)
    return one


def test_an_application_is_listed_with_its_last_step_and_its_results_are_saved(
    http_group, monkeypatch, tmp_path
):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    members = http_group()
    assert listed(members, A).stage == "joined" and listed(members, A).joined is not None
    members.pump()
    assert listed(members, A).stage == "key"
    members.send(**changes_to(members, approved=False))
    assert listed(members, A).stage == "sent"
    application = SimpleNamespace(member=members[A])
    with pytest.raises(OutOfStep, match="no decision to save"):
        saved_file(application, members.schema, "json")
    members.agree(DECIDE)
    assert listed(members, B).stage == "agreed"
    members.pump()
    for party in (A, B):
        one = listed(members, party)
        assert (one.stage, one.approved, one.reasoned) == ("decided", False, False)
    members.agree(REASONS).pump()
    assert listed(members, A).reasoned and not listed(members, A).explained
    saved = json.loads(saved_file(application, members.schema, "json").read_text())
    assert saved["decision"] == members.schema.decision.denied and saved["approved"] is False
    assert saved["reasons"] == list(members[A].reasons.sentences)
    assert saved["explanation"] is None and saved["application"] == members.opening.client_id
    text = saved_file(application, members.schema, "txt").read_text()
    assert f"1. {saved['reasons'][0]}" in text and "Saved on: 20" in text
    # The record is in the party's own folder, but not in what it may give away.
    assert str(members[A].record["Total_income"]) not in text + json.dumps(saved)
