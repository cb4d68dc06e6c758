"""The parts of one party's own page as HTML, from its seat in an application."""

from __future__ import annotations

from dataclasses import replace

from contract.http import ProgramState
from engines.interface import DECIDE, EXPLAIN, PublicModel
from features.schema import Party
from parties.agent import ApplicationAgent
from ui import panels
from ui.state import PageState
from ui.steps import PROGRAM_WORDS, Step, run_step
from ui.units import escape, join_words, show_bytes, show_seconds

LOOK_DIGITS = 64
"""Hexadecimal digits of a ciphertext that are shown; there is little room in a frame."""
NO_SEAT = "No application yet: it begins with a join code."


def agent_introduction(public: PublicModel, party: Party) -> str:
    """Whose page this is, and what its process does."""
    return f"""
<header class="ts-head ts-head-agent">
  <p class="ts-brand">Triseal</p>
  <h1>{escape(party.label)}</h1>
  <p class="ts-note">{escape(party.description)} This page belongs to a process that plays this
  party alone.<span class="ts-of-all"> {escape(public.schema_.title)}; engine:
  {escape(public.engine.label)}.</span></p>
</header>"""


def agent_steps(seat: ApplicationAgent | None, public: PublicModel) -> list[Step]:
    """How far the application is, as this party knows."""
    parties = len(public.schema_.parties)
    if seat is None:
        return [
            Step("Join", 0, parties),
            Step("Key", 0),
            Step("Send", 0, parties),
            Step("Decide", 0),
            Step("Explain", 0),
        ]
    member = seat.member
    joined = len(member.state.joined) if member.state else 0
    return [
        Step("Join", joined, parties),
        Step("Key", int(member.keys_ready)),
        Step("Send", len(member.sent_by), parties),
        run_step("Decide", member.state, DECIDE, _is_over(seat, DECIDE)),
        run_step("Explain", member.state, EXPLAIN, _is_over(seat, EXPLAIN)),
    ]


def status(seat: ApplicationAgent | None, public: PublicModel) -> str:
    """What is wrong, or whom this party waits for; empty where it is at a person."""
    if seat is None:
        return ""
    if seat.over:
        return _note(f"{seat.over} Join another application.", "ts-stale")
    if seat.waits:
        return _note(seat.waits, "ts-stale")
    if seat.failure is not None:
        return _note(seat.failure.message, "ts-stale")
    stopped = stopped_run(seat)
    if stopped is not None:
        program, found = stopped
        text = f"The server could not compute {PROGRAM_WORDS[program]}. {found.error or ''}".strip()
        if found.status == "cancelled":
            text = f"Computing {PROGRAM_WORDS[program]} was cancelled."
        return _note(f"{text} Any party can ask the server again.", "ts-stale")
    if seat.member.awaits:
        return _note(f"Waiting for {_named(seat.member.awaits, public)}.")
    return ""


def refusal(message: str) -> str:
    """Why a press could not be followed, in its place: a frame may be higher than the window."""
    return f'<p class="ts-stale ts-told" role="alert">{escape(message)}</p>' if message else ""


def stopped_run(seat: ApplicationAgent) -> tuple[str, ProgramState] | None:
    """The program that was agreed to and whose run failed or was cancelled, or None."""
    state = seat.member.state
    return None if state is None else state.stopped


def is_under_way(seat: ApplicationAgent | None) -> bool:
    """Whether a run waits at the server or is evaluated there."""
    state = None if seat is None else seat.member.state
    return state is not None and state.under_way is not None


def key_panel(seat: ApplicationAgent | None, public: PublicModel) -> str:
    """The joint key: its fingerprint, how to compare it, and what of it lies here."""
    if seat is None:
        return _empty(NO_SEAT)
    member = seat.member
    if not member.keys_ready:
        joined = member.state.joined if member.state else ()
        away = [name for name in public.schema_.party_names if name not in joined]
        waits = f" {_named(away, public).capitalize()} still has to join." if len(away) == 1 else ""
        if len(away) > 1:
            waits = f" {_named(away, public).capitalize()} still have to join."
        return _empty(f"Not made yet; the parties make it together, by themselves.{waits}")
    others = [p.name for p in public.schema_.parties if p.name != member.party]
    facts = [
        ("Own part, stays here", show_bytes(member.secret_bytes))
        if member.secret_bytes
        else ("Own part", "erased: nothing is left to open"),
        ("Public key", show_bytes(member.public_key_bytes)),
    ]
    return (
        f'<p class="ts-print"><span>Fingerprint</span><code>{escape(member.fingerprint)}</code></p>'
        f'<p class="ts-note">Read it to {escape(_named(others, public))} by telephone: the same '
        "digits everywhere mean that nobody sits between you.</p>" + _facts(facts)
    )


def sent_panel(seat: ApplicationAgent | None, changed: bool) -> str:
    """What this party has sent: bits, bytes, time and a look at the ciphertext."""
    sent = None if seat is None else seat.sent
    if seat is None or not (sent or seat.member.has_sent):
        return _empty("Nothing sent yet.")
    note = ""
    if changed:
        again = "the answer is for what was sent" if _agreed(seat) else "encrypt and send it again"
        note = _note(f"Changed since it was sent: {again}.", "ts-stale")
    if sent is None:  # by this process's predecessor
        return note + _empty("Sent before this process was started.")
    facts = [
        ("Sent", f"{sent.bits} bit{'s' if sent.bits != 1 else ''} as {show_bytes(sent.size)}"),
        ("Encrypted in", show_seconds(sent.encrypt_seconds)),
        ("On its way", show_seconds(sent.send_seconds)),
    ]
    return note + _facts(facts) + panels.ciphertext(sent.preview[:LOOK_DIGITS], sent.sha256)


def decision_panel(seat: ApplicationAgent | None, public: PublicModel) -> str:
    """Who has agreed, and the decision once it is opened."""
    if seat is None:
        return _empty("Not opened yet.")
    if seat.member.decision is not None:
        found = seat.member.decision
        found = replace(found, preview=found.preview[:LOOK_DIGITS])
        return panels.decision_panel(PageState(decision=found), public)
    return _agreement(seat, DECIDE, public)


def explanation_panel(seat: ApplicationAgent | None, public: PublicModel) -> str:
    """Who has agreed, and the explanation once it is opened."""
    if seat is None:
        return _empty("Not opened yet.")
    if seat.member.explanation is not None:
        return panels.explanation_panel(PageState(explained=seat.member.explanation))
    return _agreement(seat, EXPLAIN, public)


def holdings_panel(seat: ApplicationAgent | None) -> str:
    """What lies in the party's folder of this application."""
    if seat is None:
        return _empty("Nothing of any application yet.")
    facts = [(phrase, show_bytes(size)) for phrase, size in seat.member.holdings()]
    return _note("In its folder of this application:") + _facts(facts)


def _agreement(seat: ApplicationAgent, program: str, public: PublicModel) -> str:
    member, answer = seat.member, PROGRAM_WORDS[program]
    agreed = member.agreed_by(program)
    open_to = "" if member.is_reader else _not_read(seat, public)
    if _is_over(seat, program):
        return f'<p class="ts-says">This party has answered with its part.</p>{open_to}'
    if not agreed:
        return _empty("Nobody has agreed yet; it is opened when all have.") + open_to
    away = [name for name in public.schema_.party_names if name not in agreed]
    if away:
        verb = "has" if len(away) == 1 else "have"
        text = (
            f"{_named(agreed, public).capitalize()} agreed; {_named(away, public)} {verb} yet to."
        )
    else:
        text = _progress(seat, program) or f"{answer.capitalize()} is computed and opened."
        text = f"All have agreed. {text}"
    return f'<p role="status">{escape(text)}</p>{open_to}'


def _progress(seat: ApplicationAgent, program: str) -> str:
    state = seat.member.state
    found = None if state is None else state.programs[program]
    if found is None or found.status in ("idle", "done"):
        return ""
    if found.stopped:
        return f"The run {'was cancelled' if found.status == 'cancelled' else 'failed'}."
    return panels.run_words(found.status, found.progress)


def _not_read(seat: ApplicationAgent, public: PublicModel) -> str:
    return _note(f"Only {_named(seat.member.readers, public)} will learn the answer.")


def _is_over(seat: ApplicationAgent, program: str) -> bool:
    member = seat.member
    opened = member.decision if program == DECIDE else member.explanation
    return opened is not None or (not member.is_reader and seat.answered(program))


def _agreed(seat: ApplicationAgent) -> bool:
    return seat.member.party in seat.member.agreed_by(DECIDE)


def _named(parties: tuple[str, ...] | list[str], public: PublicModel) -> str:
    return join_words([f"the {public.schema_.party(name).label.lower()}" for name in parties])


def _facts(facts: list[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="ts-facts">{items}</dl>'


def _note(text: str, kind: str = "ts-note") -> str:
    return f'<p class="{kind}" role="status">{escape(text)}</p>'


def _empty(text: str) -> str:
    return f'<p class="ts-empty">{escape(text)}</p>'
