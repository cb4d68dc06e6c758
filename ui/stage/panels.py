"""The stage's parts as HTML: the parties' pages in frames, the steps and the message log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

from contract.http import ApplicationState, TrafficItem
from engines.interface import DECIDE, EXPLAIN, PUBLIC_KEY, REASONS, PublicModel
from features.schema import Party
from parties.joint.messages import RECORD_COMMIT
from parties.results import ALL, PROGRAM_WORDS, SERVER
from ui.access import PARAMETER
from ui.stage.playing import FINISHED, NUMBERS, SEND, WAITING, Due, opened
from ui.steps import Step, key_step, reasons_step, run_step, step_words
from ui.units import escape, join_words, show_bytes, show_seconds


def stage_steps(
    state: ApplicationState | None,
    traffic: Sequence[TrafficItem],
    public: PublicModel,
    needless: bool = False,
) -> list[Step]:
    """Return the steps of an application with their progress, as the server reports them.

    `needless` is True if it is known that no reasons are needed.
    """

    def done(program: str) -> bool:
        return state is not None and opened(program, state, traffic, public)

    parties = len(public.schema_.parties)
    slots = state.slots if state else ()
    made = any(slot.file_name == PUBLIC_KEY and slot.received_bytes for slot in slots)
    committed = {entry.sender for entry in traffic if entry.what == RECORD_COMMIT}
    return [
        key_step(len(state.joined) if state else 0, parties, made),
        Step("Send", len(committed), parties),
        run_step("Decide", state, DECIDE, done(DECIDE)),
        run_step("Explain", state, EXPLAIN, done(EXPLAIN)),
        *([reasons_step(state, done(REASONS), needless)] if REASONS in public.programs else []),
    ]


def progress_note(
    text: str, share: float | None, kind: str = "ts-next", playing: bool = False
) -> str:
    """Return the line below the steps, with a bar while a run is under way."""
    bar = (
        f'<progress class="ts-bar-run" max="1" value="{share:.2f}" aria-label="share of the run">'
        "</progress>"
        if share is not None
        else ""
    )
    played = " data-playing" if playing else ""
    return f'<p class="{kind}" role="status"{played}>{escape(text)}</p>{bar}'


ACTS = {
    SEND: ("encrypts and sends its record", "encrypt and send their records"),
    DECIDE: ("agrees to open the decision", "agree to open the decision"),
    EXPLAIN: ("agrees to open the explanation", "agree to open the explanation"),
    REASONS: ("agrees to state the reasons", "agree to state the reasons"),
}
"""Verbs of each step, for one party and for several."""


def step_note(step: Due, playing: bool, state: ApplicationState, public: PublicModel) -> str:
    """Return the current step in words, with the share of its run while the server computes."""
    if step.step == FINISHED:
        return progress_note("Finished. The results are on the pages of their readers.", None)
    number = f"Step {NUMBERS[step.step]} of {len(stage_steps(None, (), public))}"
    if step.parties:
        labels = [f"the {public.schema_.party(name).label.lower()}" for name in step.parties]
        # The server does not know the decision, and reasons are only for a denial.
        due = " To do, if denied:" if step.step == REASONS else " To do:"
        due = "" if playing else due
        acts = ACTS[step.step][len(labels) > 1]
        return progress_note(
            f"{number}.{due} {_upper(join_words(labels), playing)} {acts}.", None, playing=playing
        )
    run = state.run_of(step.step)
    if run is not None and run.under_way:
        words = {"queued": "waits for a free worker"}.get(
            run.status, f"{run.progress:.0%} computed"
        )
        return progress_note(
            f"{number}: {PROGRAM_WORDS[step.step]}, {words}.", run.progress, playing=playing
        )
    return progress_note(f"{number}. {WAITING[step.step]}", None, playing=playing)


def _upper(text: str, begins: bool) -> str:
    return text[:1].upper() + text[1:] if begins else text


def frames(
    public: PublicModel,
    urls: Mapping[str, str],
    codes: Mapping[str, str],
    tokens: Mapping[str, str],
    turn: bool,
) -> str:
    """Return the parties' pages in frames, in which each page joins with its join code.

    `tokens` are the pages' access tokens, as far as the stage knows them. If `turn` differs from
    the previous call, the browser makes new frames. In an old frame, the page would notice its lost
    connection and might reload itself instead of the new address.
    """

    def frame(party: Party) -> str:
        asked = {PARAMETER: tokens.get(party.name), "join": codes.get(party.name)}
        query = urlencode({name: value for name, value in asked.items() if value})
        target = f"{urls[party.name]}/?{query}" if query else f"{urls[party.name]}/"
        return (
            f'<iframe src="{escape(target)}" data-agent="{escape(party.name)}" '
            f'title="{escape(party.label)}: own page" referrerpolicy="no-referrer"></iframe>'
        )

    # Gradio reuses an element with the same tag.
    return _side_by_side(public, urls, frame, "section" if turn else "div")


def before_frames(public: PublicModel, urls: Mapping[str, str]) -> str:
    """Return a placeholder with the address of each party's page, which is not loaded yet."""

    def placeholder(party: Party) -> str:
        return (
            f'<p class="ts-empty">The page of the {escape(party.label.lower())} opens here with '
            "a new application.</p>"
        )

    return _side_by_side(public, urls, placeholder, "div")


def _side_by_side(
    public: PublicModel, urls: Mapping[str, str], content: Callable[[Party], str], tag: str
) -> str:
    """Return the parties' columns; in a narrow window, one at a time, chosen above them."""
    parties = public.schema_.parties
    figures = "".join(
        f'<figure class="ts-frame" data-party="{escape(party.name)}">'
        f"<figcaption><b>{escape(party.label)}</b> "
        f"<span>own process, {escape(urls[party.name].split('://')[-1])}</span></figcaption>"
        f"{content(party)}</figure>"
        for party in parties
    )
    tabs = "".join(
        f'<label><input type="radio" name="ts-party" value="{escape(party.name)}"'
        f"{' checked' if party is parties[0] else ''}><span>{escape(party.label)}</span></label>"
        for party in parties
    )
    # A party with many columns is wide enough for several fields side by side.
    widths = " ".join(f"minmax(0, {1.5 if len(p.columns) > 8 else 1}fr)" for p in parties)
    return (
        f'<{tag} class="ts-frames" style="--ts-widths: {widths}">'
        f'<fieldset class="ts-tabs"><legend>Party shown</legend>{tabs}</fieldset>{figures}</{tag}>'
    )


def no_frames() -> str:
    """Return the text shown instead of frames if the parties run their pages elsewhere."""
    return (
        '<p class="ts-empty">This application was opened elsewhere. Each party follows it on its '
        "own page or terminal; the message log is below.</p>"
    )


def opening_link(link: str) -> str:
    """Return the link to the compliance page, which opens in another tab."""
    return f'<p class="ts-opens">{_link("compliance", link, "Open the compliance page")}</p>'


def consent_links(links: Mapping[str, str]) -> str:
    """Return the links to the owner's and the institution's page, which open in other tabs."""
    items = " ".join(
        _link(f"consent-{kind}", link, f"Open the {kind}'s page") for kind, link in links.items()
    )
    return f'<p class="ts-opens">{items}</p>'


def _link(name: str, link: str, words: str) -> str:
    return (
        f'<a class="ts-open ts-other" id="{escape(name)}" href="{escape(link)}" target="_blank" '
        f'rel="noopener noreferrer" referrerpolicy="no-referrer">{escape(words)}</a>'
    )


def stage_timeline(
    state: ApplicationState | None, traffic: Sequence[TrafficItem], public: PublicModel
) -> str:
    """Return all messages through the server, oldest first, with the time since the opening."""
    if state is None:
        return '<p class="ts-empty">No messages yet.</p>'
    if not traffic:
        return '<p class="ts-empty">No party has sent anything yet.</p>'
    labels = {party.name: party.label for party in public.schema_.parties}
    labels |= {SERVER: "Server", ALL: "all parties"}
    start = datetime.fromisoformat(state.created_at)
    rows = "".join(_row(entry, labels, start) for entry in traffic)
    total = sum(entry.bytes for entry in traffic)
    plural = "s" if len(traffic) != 1 else ""
    return (
        f'<p class="ts-note">{len(traffic)} message{plural}, {show_bytes(total)} in total. The '
        "server cannot read the records or the messages between the parties.</p>"
        f'<ol class="ts-log" tabindex="0" aria-label="Messages">{rows}</ol>'
    )


def _row(entry: TrafficItem, labels: Mapping[str, str], start: datetime) -> str:
    receiver = entry.receiver or ALL
    who = (
        f"<b>{escape(labels.get(entry.sender, entry.sender))}</b> → "
        f"<b>{escape(labels.get(receiver, receiver))}</b>"
    )
    size = show_bytes(entry.bytes) if entry.bytes else "request"
    after = show_seconds(max(0.0, (datetime.fromisoformat(entry.at) - start).total_seconds()))
    return (
        f'<li><span class="who">{who}</span><span class="what">{escape(step_words(entry.what))}'
        f'</span><span class="size">{size}</span>'
        f'<span class="time">after {after}</span></li>'
    )
