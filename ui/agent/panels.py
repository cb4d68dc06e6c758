"""The parts of one party's page as HTML, rendered from its application."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from contract.http import ProgramState
from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from features.schema import Party
from parties.agent import ApplicationAgent
from parties.joint.identities import shown
from parties.joint.messages import KEY_STEPS
from parties.joint.witnesses import witness_words
from parties.results import PROGRAM_WORDS
from ui import panels
from ui.error_words import (
    ErrorWords,
    error_words,
    text_words,
    waiting_words_html,
    words_html,
)
from ui.state import PageState
from ui.steps import Step, key_step, reasons_step, run_step
from ui.texts import COMPARE_MODELS
from ui.units import escape, facts_html, join_words, show_bytes, show_hex, show_seconds

LOOK_DIGITS = 64
"""Hexadecimal digits of a ciphertext that are shown; space in a frame is limited."""
FIRST_BYTES = 16
"""Bytes of the public key that are shown: the same on the pages of all parties."""
NO_APPLICATION = "No application yet. Enter a join code to begin."
ANY_PARTY = "Any party can ask the server to try again."
STALE = "ts-stale"

_VALUES_ON_OWN_PAGE = (
    '<p class="ts-note ts-on-phone">The values are on the page of this party alone.</p>'
)
"""Shown where the form is left out after the agreement: in the stage's frames on a phone."""


def agent_introduction(public: PublicModel, party: Party) -> str:
    """Return the page header: the party, and what its process does."""
    return f"""
<header class="ts-head ts-head-agent">
  <p class="ts-brand">Triseal</p>
  <h1>{escape(party.label)}</h1>
  <p class="ts-note">{escape(party.description)} This page belongs to a process that
  acts for this party alone.<span class="ts-of-all"> {escape(public.schema_.title)}; engine:
  {escape(public.engine.label)}.</span></p>
  <p class="ts-note ts-off-phone">Model fingerprint: <code>{escape(public.fingerprint)}</code>.
  {COMPARE_MODELS}</p>
</header>"""


def agent_steps(application: ApplicationAgent | None, public: PublicModel) -> list[Step]:
    """Return the steps of the application with their progress, as this party knows it."""
    parties = len(public.schema_.parties)
    if application is None:
        return [
            key_step(0, parties, False),
            Step("Send", 0, parties),
            Step("Decide", 0),
            Step("Explain", 0),
            *([reasons_step(None, False, False)] if REASONS in public.programs else []),
        ]
    member = application.member
    joined = len(member.state.joined) if member.state else 0
    return [
        key_step(joined, parties, member.keys_ready),
        Step("Send", len(member.sent_by), parties),
        run_step("Decide", member.state, DECIDE, is_over(application, DECIDE)),
        run_step("Explain", member.state, EXPLAIN, is_over(application, EXPLAIN)),
        *_reasons_step(application, public),
    ]


def _reasons_step(application: ApplicationAgent, public: PublicModel) -> list[Step]:
    if REASONS not in public.programs:
        return []
    decision = application.member.decision
    approved = decision is not None and decision.approved
    return [reasons_step(application.member.state, is_over(application, REASONS), approved)]


def status(application: ApplicationAgent | None, public: PublicModel) -> str:
    """Return the current problem, or the parties waited for; empty if this party is to act."""
    if application is None:
        return ""
    schema = public.schema_
    if application.over:
        words = text_words(application.over, schema)
        return words_html(replace(words, text=f"{words.text} Join another application."), STALE)
    if application.waits:
        return waiting_words_html(application.waits, application.busy, schema)
    if application.failure is not None:
        return words_html(error_words(application.failure, schema), STALE, "status")
    stopped = stopped_run(application)
    if stopped is not None:
        program, found = stopped
        answer = PROGRAM_WORDS[program]
        if found.status == "cancelled":
            words = ErrorWords(f"Computing {answer} was cancelled. {ANY_PARTY}")
        else:
            words = ErrorWords(
                f"The server could not compute {answer}. {ANY_PARTY}", found.error or ""
            )
        return words_html(words, STALE, "status")
    if application.member.awaits:
        return _note(f"Waiting for {named(application.member.awaits, public)}.")
    if application.member.awaited_witnesses:
        names = [f"the witness {name}" for name in application.member.awaited_witnesses]
        return _note(f"Waiting for {join_words(names)}.")
    return ""


def stopped_run(application: ApplicationAgent) -> tuple[str, ProgramState] | None:
    """Return the agreed program whose run failed or was cancelled, or None."""
    state = application.member.state
    return None if state is None else state.stopped


def is_under_way(application: ApplicationAgent | None) -> bool:
    """Return True if a run is queued or running on the server."""
    state = None if application is None else application.member.state
    return state is not None and state.under_way is not None


def key_panel(application: ApplicationAgent | None, public: PublicModel) -> str:
    """Return the other parties' identities, and the joint key's fingerprint once it is made."""
    if application is None:
        return empty(NO_APPLICATION)
    member = application.member
    witnesses = _note(witness_words(member.witnesses))
    if not member.keys_ready:
        joined = member.state.joined if member.state else ()
        away = [name for name in public.schema_.party_names if name not in joined]
        waits = f" {named(away, public).capitalize()} still has to join." if len(away) == 1 else ""
        if len(away) > 1:
            waits = f" {named(away, public).capitalize()} still have to join."
        text = f"Not made yet. The parties' processes make it together, automatically.{waits}"
        return empty(text) + _identities(application, public) + witnesses
    others = [p.name for p in public.schema_.parties if p.name != member.party]
    facts = [
        ("Model fingerprint", member.model_fingerprint),
        ("Own part, never sent", show_bytes(member.secret_bytes))
        if member.secret_bytes
        else ("Own part", "erased; nothing more can be opened"),
        ("Public key", show_bytes(member.public_key_bytes)),
        ("Messages for the key", _exchanged(application, KEY_STEPS)),
        ("Public key begins with", show_hex(member.public_key[:FIRST_BYTES].hex())),
    ]
    return (
        f'<p class="ts-print"><span>Fingerprint</span><code>{escape(member.fingerprint)}</code></p>'
        f'<p class="ts-note">Compare it with {escape(named(others, public))} by telephone. If all '
        "digits match, no one has tampered with the messages between you.</p>"
        + f'<div class="ts-off-phone">{facts_html(facts)}</div>'
        + _identities(application, public)
        + witnesses
    )


def _exchanged(application: ApplicationAgent, steps: Sequence[str]) -> str:
    """Return the bytes of the messages of these steps that this party sent and received."""
    member = application.member
    sizes = {True: 0, False: 0}
    for event in member.events:
        if event.what in steps:
            sizes[event.sender == member.party] += event.size
    return f"sent {show_bytes(sizes[True])}, received {show_bytes(sizes[False])}"


def sent_panel(application: ApplicationAgent | None, public: PublicModel, changed: bool) -> str:
    """Return what this party has sent: bits, bytes, times and the start of the ciphertext."""
    sent = None if application is None else application.sent
    if application is None or not (sent or application.member.has_sent):
        return empty("Nothing sent yet.")
    note = ""
    if changed:
        note = _note(
            "Values changed since they were sent. The record that was sent is fixed, and the "
            "result is for it. To send another one, open a new application: it has new keys.",
            "ts-stale",
        )
    upload = application.member.upload
    if upload is None:
        note += _waiting(application, public)
    if sent is None:  # sent by an earlier process
        return note + empty("Encrypted before this process was started.")
    facts = [
        (
            "Encrypted" if upload is None else "Sent",
            f"{sent.bits} bit{'s' if sent.bits != 1 else ''} as {show_bytes(sent.size)}",
        ),
        ("Encrypted in", show_seconds(sent.encrypt_seconds)),
    ]
    if upload is not None:
        facts.append(("Upload time", show_seconds(upload.seconds)))
    excerpt = panels.ciphertext(sent.preview[:LOOK_DIGITS], sent.sha256)
    if application.member.party in application.member.agreed_by(DECIDE):
        note += _VALUES_ON_OWN_PAGE
    return note + facts_html(facts) + excerpt


def _waiting(application: ApplicationAgent, public: PublicModel) -> str:
    sent_by = application.member.sent_by
    away = [name for name in public.schema_.party_names if name not in sent_by]
    if not away:
        return _note("All parties have encrypted their records; this one is being sent.")
    verb, theirs = ("has", "its own") if len(away) == 1 else ("have", "theirs")
    return _note(
        f"Encrypted, and fixed. It is sent automatically once {named(away, public)} {verb} "
        f"encrypted {theirs}, so that no party can copy another's ciphertext."
    )


def decision_panel(application: ApplicationAgent | None, public: PublicModel) -> str:
    """Return the parties that have agreed or, once opened, the decision."""
    if application is None:
        return empty("Not opened yet.")
    if application.member.decision is not None:
        found = application.member.decision
        found = replace(found, preview=found.preview[:LOOK_DIGITS])
        state = PageState(decision=found)
        if not found.referred:
            return panels.decision_panel(state, public)
        due = None if application.referral is None else application.referral.due
        applicant = application.member.party == public.schema_.party_names[0]
        return panels.decision_panel(state, public, panels.referral_words(due, applicant))
    return agreement(application, DECIDE, public)


def explanation_panel(application: ApplicationAgent | None, public: PublicModel) -> str:
    """Return the parties that have agreed or, once opened, the explanation."""
    if application is None:
        return empty("Not opened yet.")
    if application.member.explanation is not None:
        return panels.explanation_panel(PageState(explained=application.member.explanation), public)
    return agreement(application, EXPLAIN, public)


def holdings_panel(application: ApplicationAgent | None) -> str:
    """Return what the party's folder holds for this application."""
    if application is None:
        return empty("Nothing stored yet.")
    facts = [(phrase, show_bytes(size)) for phrase, size in application.member.holdings()]
    return _note("In this party's folder for the application:") + facts_html(facts)


def agreement(application: ApplicationAgent, program: str, public: PublicModel) -> str:
    """Return the parties that have agreed to a program, or the progress of its run."""
    member, answer = application.member, PROGRAM_WORDS[program]
    agreed = member.agreed_by(program)
    open_to = "" if member.reads(program) else _not_read(application, program, public)
    if is_over(application, program):
        return _done(application, program, public)
    if not agreed:
        what = "They are" if program == REASONS else "It is"
        return empty(f"No party has agreed yet. {what} opened once all have agreed.") + open_to
    away = [name for name in public.schema_.party_names if name not in agreed]
    if away:
        verb = "has" if len(away) == 1 else "have"
        text = f"{named(agreed, public).capitalize()} agreed; {named(away, public)} {verb} not yet."
        return f'<p role="status">{escape(text)}</p>{open_to}'
    text = f"{answer.capitalize()} {_is(program)} being computed and opened."
    state = member.state
    found = None if state is None else state.run_of(program)
    bar = ""
    if found is not None and found.under_way:
        text = panels.run_words(found)
        bar = panels.run_bar(found) if found.status == "running" else ""
    elif found is not None and found.stopped:
        text = f"The run {'was cancelled' if found.status == 'cancelled' else 'failed'}."
    return f'<p role="status">All parties have agreed. {escape(text)}</p>{bar}{open_to}'


def _done(application: ApplicationAgent, program: str, public: PublicModel) -> str:
    readers = application.member.readers_of(program)
    verb = "learns" if len(readers) == 1 else "learn"
    answer = "the answer" if program == DECIDE else PROGRAM_WORDS[program]
    text = f"Done. Only {named(readers, public)} {verb} {answer}."
    return f'<p class="ts-says" role="status">{escape(text)}</p>'


def _is(program: str) -> str:
    return "are" if program == REASONS else "is"


def _not_read(application: ApplicationAgent, program: str, public: PublicModel) -> str:
    readers = application.member.readers_of(program)
    return _note(f"Only {named(readers, public)} will learn {PROGRAM_WORDS[program]}.")


def is_over(application: ApplicationAgent, program: str) -> bool:
    """Return True if a program's result is open to this party, or its share of it is sent."""
    member = application.member
    opened = {DECIDE: member.decision, EXPLAIN: member.explanation, REASONS: member.reasons}
    return opened[program] is not None or (
        not member.reads(program) and application.answered(program)
    )


def _identities(application: ApplicationAgent, public: PublicModel) -> str:
    """Return who the other parties are: pinned, with a short fingerprint, or not pinned."""
    member = application.member
    facts = [(public.schema_.party(one.party).label, one.words) for one in member.identities]
    return facts_html([*facts, ("Own identity key", shown(member.own_identity))])


def named(parties: tuple[str, ...] | list[str], public: PublicModel) -> str:
    """Return the labels of parties in words, such as "the applicant and the bank"."""
    return join_words([f"the {public.schema_.party(name).label.lower()}" for name in parties])


def _note(text: str, kind: str = "ts-note") -> str:
    return f'<p class="{kind}" role="status">{escape(text)}</p>'


def empty(text: str) -> str:
    """Return the text of a panel that has nothing to show yet."""
    return f'<p class="ts-empty">{escape(text)}</p>'
