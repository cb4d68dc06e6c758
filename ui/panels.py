"""The step panels as HTML, rendered from the page's state."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from contract.http import ProgramState
from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from features.schema import Party
from model.explanation import Explanation
from parties.results import Decision, KeysMade
from ui.error_words import waiting_words_html, words_html
from ui.plots import explanation_table
from ui.reasons import APPROVED, NOT_STATED, has_reasons, reasons_html
from ui.state import PageState
from ui.steps import Step, reasons_step, show_steps
from ui.sureness import sureness
from ui.units import (
    escape,
    facts_html,
    join_words,
    show_bytes,
    show_fetched,
    show_hex,
    show_number,
    show_remaining,
    show_seconds,
)

SHOWN_LOADING_SECONDS = 0.05
"""Shortest time for loading the key that is worth a figure of its own."""


def strip(state: PageState, public: PublicModel) -> str:
    """Return the steps in one line, each marked done, next or later."""
    parties = len(public.schema_.parties)
    sent = len(state.sent) - len(state.changed)
    approved = state.decision is not None and state.decision.approved
    steps = [
        Step("Keys", int(state.keys is not None)),
        Step("Send", sent, parties),
        Step("Decide", int(state.decision is not None)),
        Step("Explain", int(state.explained is not None)),
    ]
    if has_reasons(public):
        steps.append(reasons_step(None, state.reasons is not None, approved))
    if state.news is not None:
        place = {DECIDE: 2, REASONS: 4}.get(state.news.program, 3)
        steps[place] = replace(steps[place], name=state.news.status.capitalize(), needless=False)
    return show_steps(steps)


def refusal(state: PageState, step: str) -> str:
    """Return why a step could not be taken, for the place next to its button; empty if it could."""
    words = state.refused.get(step)
    return "" if words is None else words_html(words)


def heading(number: int | None, title: str, text: str = "") -> str:
    """Return the heading of a section, with a number if it is a step."""
    mark = f"<b>{number}</b>" if number else ""
    words = f"<p>{escape(text)}</p>" if text else ""
    return f'<div class="ts-step">{mark}<div><h2>{escape(title)}</h2>{words}</div></div>'


def folding_heading(title: str, text: str = "", level: int = 2) -> str:
    """Return a heading at which a section, or a party's form, is folded in a narrow window."""
    words = f"<p>{escape(text)}</p>" if text else ""
    named = f"<h{level}>{escape(title)}</h{level}>"
    return (
        f'<div class="ts-step ts-folds"><div>{named}{words}</div>'
        f'<label><input type="checkbox" aria-label="Show: {escape(title)}"><span></span></label>'
        "</div>"
    )


def party_heading(party: Party) -> str:
    """Return the heading of one party's column."""
    return folding_heading(party.label, party.description, 3)


def keys_panel(state: PageState, public: PublicModel) -> str:
    """Return who made the keys, what stays with the parties and what was sent to the server."""
    keys = state.keys
    if keys is None:
        return _empty("No keys yet. Each application has its own.")
    labels = {party.name: party.label for party in public.schema_.parties}
    if keys.joint:
        return _joint_keys(keys, labels)
    facts = [
        ("Made by", f"{labels[keys.holder]}, in {show_seconds(keys.seconds)}"),
        (
            "Secret key",
            f"{show_bytes(keys.secret_bytes)}; {_secret_goes(keys, labels)}"
            if keys.secret_bytes
            else "this engine has none",
        ),
        (
            "Evaluation key",
            f"{show_bytes(keys.evaluation_bytes)}, sent to the server"
            if keys.evaluation_bytes
            else "this engine needs none",
        ),
        ("Application", keys.client_id[:8] + "…"),
    ]
    return facts_html(facts)


def party_panel(state: PageState, party: Party) -> str:
    """Return what one party has sent: bits, bytes, times and the start of the ciphertext."""
    note = ""
    sent = state.sent.get(party.name)
    if sent is None:
        return _empty("Nothing sent yet.")
    if party.name in state.changed:
        note = (
            '<p class="ts-stale" role="status">Values changed since they were sent. '
            "Encrypt and send them again.</p>"
        )
    elif sent.fresh:
        again = (
            "with new joint keys; the other parties' records were encrypted and sent again"
            if sent.keys is not None
            else "with the same keys; the other parties' ciphertexts were sent again"
        )
        note = (
            '<p class="ts-note">What an application was given is fixed, so a new one was opened '
            f"{again}.</p>"
        )
    facts = [
        (
            "Encrypted" if sent.waits else "Sent",
            f"{sent.bits} bit{'s' if sent.bits != 1 else ''} as {show_bytes(sent.size)}",
        ),
        ("Encrypted in", show_seconds(sent.encrypt_seconds)),
        ("Upload", "waits until all parties have encrypted theirs")
        if sent.waits
        else ("Upload time", show_seconds(sent.send_seconds)),
    ]
    return note + facts_html(facts) + ciphertext(sent.preview, sent.sha256)


def run_panel(state: PageState, public: PublicModel) -> str:
    """Return the progress of the run, or the time it took."""
    if state.asked == DECIDE or state.cancelled == DECIDE:
        return _asked_for(state, public)
    if state.run is None:
        return _empty("Not run yet.")
    # An engine whose parties share one key sends it a large evaluation key.
    loading = [
        ("Key loaded in", show_seconds(seconds))
        for seconds in (state.run.loading_seconds,)
        if seconds >= SHOWN_LOADING_SECONDS
    ]
    facts = [
        ("Evaluated in", show_seconds(state.run.seconds)),
        *loading,
        ("Round trip", show_seconds(state.run.waited)),
    ]
    return facts_html(facts)


PLAYS_ALL_PARTIES = (
    "This page plays all parties, so it opens no review. On the parties' own pages, a person at "
    "the lender now reviews the application."
)
"""Words on a referral for a page of all parties, whose keys could open no review's texts."""


def referral_words(due: datetime | None, applicant: bool = True) -> str:
    """Return what follows for a referred application, to the applicant or to another party."""
    until = "" if due is None else f" by {due.day}\u00a0{due:%B}\u00a0{due.year}"
    if applicant:
        return f"A person at the lender will look at this; you will hear{until}."
    return f"A person at the lender decides{until}; see the reviews by a person."


def decision_panel(state: PageState, public: PublicModel, referral: str = PLAYS_ALL_PARTIES) -> str:
    """Return the decision in large type, with the score if the program opens one.

    `referral` tells what follows if the decision refers the application to a person.
    """
    decision = state.decision
    if decision is None:
        return _empty("Not opened yet.")
    words, word = public.schema_.decision, decision.word(public.schema_)
    kind, sign = ("approved", "✓") if decision.approved else ("denied", "✕")
    if decision.referred:
        kind, sign = "referred", "?"
    score = (
        f"<p>Score <strong>{show_number(decision.score)}</strong>; 0 or more means "
        f"{escape(words.approved)}. In log-odds: {show_number(decision.log_odds or 0)}.</p>"
        f'{_gauge(decision)}<p class="ts-sure">{escape(sureness(decision, words))}</p>'
        if decision.score is not None
        else "<p>The program opens only the decision, without a score.</p>"
    )
    follows = f"<p>{escape(referral)}</p>" if decision.referred else ""
    facts = [("Fetched and opened", show_fetched(decision.size, decision.seconds))]
    return _outdated(state) + (
        f'<div class="ts-decision {kind}" role="status"><b aria-hidden="true">{sign}</b><div>'
        f'<p class="ts-word">{escape(word.capitalize())}</p>{follows}{score}</div></div>'
        f"{facts_html(facts)}{ciphertext(decision.preview, decision.sha256)}"
    )


def explanation_panel(state: PageState, public: PublicModel) -> str:
    """Return the explanation in words, with its size and times, and the data of its plot."""
    found = state.explained
    if state.asked == EXPLAIN or state.cancelled == EXPLAIN:
        return _asked_for(state, public)
    if found is None:
        return _empty("Not explained yet.")
    facts = [
        ("Evaluated in", show_seconds(found.run_seconds)),
        ("Fetched and opened", show_fetched(found.size, found.seconds)),
    ]
    text = escape(found.explanation.text)
    return (
        f'{_outdated(state)}<p class="ts-says" role="status">{text}</p>'
        f"{_other_changes(found.explanation)}{facts_html(facts)}"
        f"{explanation_table(found.explanation, public.schema_, public.opens_sign(EXPLAIN))}"
    )


def _other_changes(explanation: Explanation) -> str:
    """Return the outcomes of other columns and of a pair, nearest change first, or nothing."""
    items = "".join(f"<li>{escape(text)}</li>" for text in explanation.texts[1:])
    return f'<ul class="ts-changes" aria-label="Other changes">{items}</ul>' if items else ""


def reasons_panel(state: PageState, public: PublicModel) -> str:
    """Return the reasons in the schema's wording, or why there are none."""
    if state.asked == REASONS or state.cancelled == REASONS:
        return _asked_for(state, public)
    if state.reasons is not None:
        return _outdated(state) + reasons_html(state.reasons)
    approved = state.decision is not None and state.decision.approved
    return _empty(APPROVED if approved else NOT_STATED)


def run_words(found: ProgramState) -> str:
    """Return the progress of a queued or running run in words."""
    if found.status == "queued":
        return "Queued: it starts as soon as a worker is free."
    if found.phase == "loading_key":
        return "Loading the key: the server prepares it once, before its first use."
    if found.runs == 1:
        return f"Running on the server: {found.progress:.0%} done."
    left = found.remaining_seconds
    ends = "." if left is None else f"; about {show_remaining(left)} left."
    return f"Run {found.run_number} of {found.runs}, one for each value that is tried{ends}"


def run_bar(found: ProgramState) -> str:
    """Return the bar of a running run; without a value if its share is unknown."""
    value = "" if found.phase == "loading_key" else f' value="{found.progress:.2f}"'
    return (
        f'<progress class="ts-bar-run" max="1"{value} '
        'aria-label="Share of the run that is done"></progress>'
    )


def _asked_for(state: PageState, public: PublicModel) -> str:
    news = state.news
    if state.cancelled:
        return _said("Cancelled. You can run it again.")
    if news is None:
        return _empty("Contacting the server.")
    if news.status == "waiting":
        return waiting_words_html(news.text, news.busy, public.schema_)
    if news.found is None or news.status == "queued":
        return _said(run_words(news.found or ProgramState(status="queued")))
    return _said(run_words(news.found)) + run_bar(news.found)


def _said(text: str) -> str:
    return f'<p class="ts-run" role="status">{escape(text)}</p>'


def ciphertext(preview: str, sha256: str) -> str:
    """Return the first bytes in hexadecimal and the digest of the whole message."""
    if not preview:
        return ""
    size = len(preview) // 2
    return (
        f'<figure class="ts-hex"><figcaption>Excerpt ({size} bytes)</figcaption>'
        f"<code>{show_hex(preview)}</code>"
        f"<small>SHA-256 {escape(sha256[:16])}…</small></figure>"
    )


def _outdated(state: PageState) -> str:
    if not state.changed:
        return ""
    return (
        '<p class="ts-stale">This result is for the records that were sent; values have changed '
        "since.</p>"
    )


def _joint_keys(keys: KeysMade, labels: dict[str, str]) -> str:
    makers = join_words([f"the {labels[name].lower()}" for name in keys.parts_of])
    facts = [
        ("Made by", f"{makers} together, in {show_seconds(keys.seconds)}"),
        (
            "Secret key",
            f"never made: each party keeps a part of {show_bytes(keys.secret_bytes)} in its own "
            "folder. On this page one process plays all parties and could bring the parts together",
        ),
        ("Public key", f"{show_bytes(keys.evaluation_bytes)}, sent to the server"),
        ("Fingerprint", keys.fingerprint),
        ("Application", keys.client_id[:8] + "…"),
    ]
    return facts_html(facts)


def _secret_goes(keys: KeysMade, labels: dict[str, str]) -> str:
    if not keys.shared_with:
        return "stays with its maker"
    others = join_words([f"the {labels[name].lower()}" for name in keys.shared_with])
    return f"given to {others}, never to the server"


def _gauge(decision: Decision) -> str:
    score = decision.score or 0.0
    share = max(-1.0, min(1.0, score / max(decision.reach, abs(score), 1.0)))
    left, width = (50 + 50 * min(share, 0), 50 * abs(share))
    return (
        f'<div class="ts-gauge" role="img" aria-label="score {show_number(score)}, threshold 0">'
        f'<i style="left:{left:.2f}%;width:{max(width, 0.7):.2f}%"></i><span>0</span></div>'
    )


def _empty(text: str) -> str:
    return f'<p class="ts-empty">{escape(text)}</p>'
