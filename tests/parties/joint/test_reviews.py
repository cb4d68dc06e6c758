"""A review's texts go from applicant to lender and back, and nobody between can read them."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from engines.interface import DECIDE
from parties.expiry import HOUR, erase_expired, read_expiry, write_expiry
from parties.joint.review_texts import MOST_CHARACTERS, STATEMENT, WORDS, ReviewTexts
from parties.reviews import Reviews
from parties.store import REVIEW_KEY
from ui.agent.review import stage_panel
from utils.errors import ForbiddenSlot, InvalidRequest, NotAuthentic, OutOfStep

A, B, C = "applicant", "bank", "credit_agency"
SAID = "I have worked there for nine years, not two. Straße 5, 東京"


def of(members, name):
    return Reviews(members.connections[name], name)


def test_the_texts_reach_the_other_side_and_nobody_else(http_group):
    members = http_group()
    members.pump().send()
    client_id = members.opening.client_id
    with pytest.raises(OutOfStep, match="no decision to review yet"):
        of(members, A).ask(client_id, SAID)
    members.agree(DECIDE).pump()
    for program in members[A].public.programs:
        if program != DECIDE:
            members.agree(program).pump()
    assert all("identity" not in members.files(name) for name in (A, B, C))
    assert [REVIEW_KEY in members.files(name) for name in (A, B, C)] == [True, True, False]

    asked = of(members, A).ask(client_id, f"  {SAID}\n")
    assert (asked.stage, asked.statement, asked.open) == ("asked", SAID, True)
    (listed,) = of(members, B).all()
    assert (listed.client_id, listed.statement, listed.words) == (client_id, SAID, None)
    assert not listed.overdue(listed.due) and listed.overdue(listed.due + timedelta(seconds=1))
    with pytest.raises(ForbiddenSlot):
        of(members, C).of(client_id)
    token = members.files(C)["token"].decode()
    with pytest.raises(ForbiddenSlot):
        members.client.ask_for_review(client_id, token, "c2VhbGVk")

    members[A].advance()
    assert members[A].state.review == "asked"
    assert of(members, B).take(client_id).stage == "under_review"
    concluded = of(members, B).conclude(client_id, "changed", "You are right.")
    seen = of(members, A).of(client_id)
    assert seen == concluded and (seen.stage, seen.words) == ("changed", "You are right.")
    assert not seen.open and seen.asked <= seen.taken <= seen.closed


def test_a_review_outlives_all_other_files(http_group, monkeypatch):
    """The party's limit of a day is shorter than any review."""
    members = http_group()
    members.pump().send().agree(DECIDE).pump()
    client_id, now = members.opening.client_id, time.time()
    of(members, A).ask(client_id, SAID)
    of(members, B).all()  # the lender has seen it
    assert "secret_key" in members.files(A)  # for the explanation
    for name in (B, C):
        members[name].close()
    monkeypatch.setattr("parties.expiry.time.time", lambda: now + 25 * HOUR)
    members[A].expire()
    for name in (A, B, C):
        erase_expired(members.connections[name].store, 24)
    left = {"token", "review_key", "expiry.json"}
    found = [set(members.files(name)) & {*left, "secret_key", "identity"} for name in (A, B, C)]
    assert found == [left, left, set()]
    of(members, B).conclude(client_id, "changed", "You are right.")
    assert of(members, A).of(client_id).words == "You are right."
    # The server's end time is the last; by its word alone, nothing stays for years.
    for later, until in ((61, None), (396, now + 9e9)):
        for name in (A, B):
            store = members.connections[name].store
            expiry = read_expiry(store, client_id, name)
            if expiry is not None and until:
                write_expiry(store, client_id, name, expiry.model_copy(update={"until": until}))
            monkeypatch.setattr("parties.expiry.time.time", lambda d=later: now + d * 24 * HOUR)
            if name == A or until:
                erase_expired(store, 24)
    assert REVIEW_KEY not in members.files(A) and REVIEW_KEY not in members.files(B)


def test_a_server_cannot_exchange_outcome_or_texts(http_group, monkeypatch):
    members = http_group()
    members.pump().send().agree(DECIDE).pump()
    client_id = members.opening.client_id
    of(members, A).ask(client_id, SAID)
    of(members, B).conclude(client_id, "upheld", "We looked at it again.")
    assert not of(members, A).of(client_id).unreadable  # the control
    client, honest = members.connections[A].client, members.client.review
    token = members.files(A)["token"].decode()
    state = honest(client_id, token)
    for lie in (
        {"state": "changed"},
        {"words": state.statement},
        {"statement": state.words},
        {"state": "changed", "words": None},
    ):
        monkeypatch.setattr(
            client, "review", lambda *_, lie=lie: state.model_copy(update=lie), raising=False
        )
        seen = of(members, A).of(client_id)
        assert seen.unreadable, lie
        assert "words" not in lie or seen.words is None
        assert "not confirmed: ask the lender" in stage_panel(seen)


def test_a_sealed_text_opens_in_its_own_place_only():
    texts = ReviewTexts(bytes(32), "a" * 32)
    sealed = texts.seal(STATEMENT, SAID)
    assert texts.open(STATEMENT, sealed) == SAID and sealed != texts.seal(STATEMENT, SAID)
    assert len(sealed) == len(texts.seal(STATEMENT, "no"))  # padded
    others = [
        (texts, WORDS, sealed),
        (ReviewTexts(bytes(32), "b" * 32), STATEMENT, sealed),
        (ReviewTexts(b"1" * 32, "a" * 32), STATEMENT, sealed),
        (texts, STATEMENT, sealed[:-8] + "AAAAAAA="),
        (texts, STATEMENT, "AAAA"),
    ]
    for opener, kind, given in others:
        with pytest.raises(NotAuthentic, match="cannot be opened"):
            opener.open(kind, given)
    for text in ("", "   ", "x" * (MOST_CHARACTERS + 1)):
        with pytest.raises(InvalidRequest, match=r"Write 1 to 2000 characters"):
            texts.seal(STATEMENT, text)
    assert texts.open(STATEMENT, texts.seal(STATEMENT, "a\ud800b")) == "a?b"
    assert texts.open(WORDS, texts.seal(WORDS, "東" * MOST_CHARACTERS)) == "東" * MOST_CHARACTERS
