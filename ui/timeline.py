"""The message log: sender, receiver, contents, size, duration and digest, in order."""

from __future__ import annotations

from collections.abc import Sequence

from engines.interface import PublicModel
from parties.results import ALL, SERVER, Message
from ui.steps import step_words
from ui.units import escape, show_bytes, show_hex, show_seconds

LOOK_DIGITS = 32
"""Hexadecimal digits of a message that a party's own log shows."""


def timeline(messages: Sequence[Message], public: PublicModel) -> str:
    """Return the messages as an ordered list, oldest first."""
    if not messages:
        return '<p class="ts-empty">No messages yet.</p>'
    labels = {party.name: party.label for party in public.schema_.parties}
    labels |= {SERVER: "Server", ALL: "all parties"}
    received = sum(m.size for m in messages if m.receiver == SERVER or m.relayed)
    encrypted = public.engine.encrypted
    rows = "".join(_row(message, labels, encrypted) for message in messages)
    plural = "s" if len(messages) != 1 else ""
    return (
        f'<p class="ts-note">{len(messages)} message{plural}; the server received '
        f"{show_bytes(received)} in total and no secret key.</p>"
        f'<ol class="ts-log" tabindex="0" aria-label="Messages">{rows}</ol>'
    )


def own_timeline(messages: Sequence[Message], public: PublicModel, party: str) -> str:
    """Return what one party's process sent and received, oldest first, with the first bytes."""
    if not messages:
        return '<p class="ts-empty">No messages yet.</p>'
    labels = {p.name: p.label for p in public.schema_.parties}
    labels |= {SERVER: "Server", ALL: "all parties"}
    sent = sum(m.size for m in messages if m.sender == party)
    received = sum(m.size for m in messages if m.sender != party)
    rows = "".join(_row(message, labels, True, looks=True) for message in messages)
    return (
        f'<p class="ts-note">Sent {show_bytes(sent)}, received {show_bytes(received)}. Messages '
        "between parties are sealed and relayed by the server.</p>"
        f'<ol class="ts-log ts-log-own" tabindex="0" aria-label="Messages">{rows}</ol>'
    )


def _row(message: Message, labels: dict[str, str], encrypted: bool, looks: bool = False) -> str:
    what = step_words(message.what)
    what = what if encrypted else what.replace("encrypted", "unencrypted")
    between = SERVER not in (message.sender, message.receiver) and not message.relayed
    size = show_bytes(message.size) if message.size else "request"
    time = "not through the server" if between else show_seconds(message.seconds)
    if not (between or message.seconds):  # it came or went with a call that waited
        time = "sent" if message.receiver == SERVER else "received"
    digest = f"<code>{escape(message.sha256[:12])}…</code>" if message.sha256 else ""
    if looks:
        shown = show_hex(message.preview[:LOOK_DIGITS])
        digest = f"<code>{escape(shown)}…</code>" if shown else ""
    who = (
        f"<b>{escape(labels.get(message.sender, message.sender))}</b> → "
        f"<b>{escape(labels.get(message.receiver, message.receiver))}</b>"
    )
    return (
        f'<li class="{"between" if between else ""}"><span class="who">{who}</span>'
        f'<span class="what">{escape(what)}</span><span class="size">{size}</span>'
        f'<span class="time">{time}</span><span class="sum">{digest}</span></li>'
    )
