"""The stage's parts as HTML: the parties' pages in frames, the steps and the message log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

from contract.http import ApplicationState, TrafficItem
from engines.interface import DECIDE, EXPLAIN, PROGRAMS, PUBLIC_KEY, REASONS, PublicModel
from features.schema import Party
from parties.joint.messages import RECORD_COMMIT
from parties.results import ALL, SERVER
from ui.access import PARAMETER
from ui.steps import Step, run_step, step_words
from ui.units import escape, show_bytes, show_seconds


def stage_steps(
    state: ApplicationState | None, traffic: Sequence[TrafficItem], public: PublicModel
) -> list[Step]:
    """Return the steps of an application with their progress, as the server reports them."""
    parties = len(public.schema_.parties)
    slots = state.slots if state else ()
    arrived = [slot.file_name for slot in slots if slot.received_bytes is not None]
    committed = {entry.sender for entry in traffic if entry.what == RECORD_COMMIT}
    partials = {
        program: len({e.sender for e in traffic if e.what == f"partial:{public.final(program)}"})
        for program in PROGRAMS
        if program in public.programs
    }
    readers = {
        DECIDE: state.readers if state else (),
        EXPLAIN: state.explanation_readers if state else (),
        REASONS: state.reasons_readers if state else (),
    }
    # The only reader of a result does not send its decryption share.
    parts = {p: parties - (len(named) == 1) for p, named in readers.items()}
    return [
        Step("Open", int(state is not None)),
        Step("Join", len(state.joined) if state else 0, parties),
        Step("Key", arrived.count(PUBLIC_KEY)),
        Step("Send", len(committed), parties),
        run_step("Decide", state, DECIDE, partials[DECIDE] >= parts[DECIDE]),
        *(
            run_step(words, state, program, partials[program] >= parts[program])
            for words, program in (("Explain", EXPLAIN), ("Reasons", REASONS))
            if program in partials
        ),
    ]


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
    parties = public.schema_.parties
    figures = "".join(
        f'<figure class="ts-frame" data-party="{escape(party.name)}">'
        f"<figcaption><b>{escape(party.label)}</b> "
        f"<span>own process, {escape(urls[party.name].split('://')[-1])}</span></figcaption>"
        f"{content(party)}</figure>"
        for party in parties
    )
    # A party with many columns is wide enough for several fields side by side.
    widths = " ".join(f"minmax(0, {1.5 if len(p.columns) > 8 else 1}fr)" for p in parties)
    return f'<{tag} class="ts-frames" style="--ts-widths: {widths}">{figures}</{tag}>'


def no_frames() -> str:
    """Return the text shown instead of frames if the parties run their pages elsewhere."""
    return (
        '<p class="ts-empty">This application was opened elsewhere. Each party follows it on its '
        "own page or terminal; the message log is below.</p>"
    )


def opening_link(link: str) -> str:
    """Return the link to the compliance page, which opens in another tab."""
    return (
        f'<p><a class="ts-open" id="compliance" href="{escape(link)}" target="_blank" '
        'rel="noopener noreferrer" referrerpolicy="no-referrer">Open the compliance page</a></p>'
    )


def consent_links(links: Mapping[str, str]) -> str:
    """Return the links to the owner's and the institution's page, which open in other tabs."""
    items = " ".join(
        f'<a class="ts-open" id="consent-{escape(kind)}" href="{escape(link)}" target="_blank" '
        f'rel="noopener noreferrer" referrerpolicy="no-referrer">Open the {escape(kind)}\'s '
        "page</a>"
        for kind, link in links.items()
    )
    return f'<p class="ts-opens">{items}</p>'


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
