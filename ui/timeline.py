"""Everything that travelled, in order: who sent what to whom, how large, how long, which digest."""

from __future__ import annotations

from collections.abc import Sequence

from engines.interface import PublicModel
from parties.steps import SERVER, Message
from ui.units import escape, show_bytes, show_seconds


def timeline(messages: Sequence[Message], public: PublicModel) -> str:
    """The messages as an ordered list, oldest first."""
    if not messages:
        return '<p class="ts-empty">Nothing has travelled yet.</p>'
    labels = {party.name: party.label for party in public.schema_.parties} | {SERVER: "Server"}
    received = sum(m.size for m in messages if m.receiver == SERVER)
    encrypted = public.engine.encrypted
    rows = "".join(_row(message, labels, encrypted) for message in messages)
    plural = "s" if len(messages) != 1 else ""
    return (
        f'<p class="ts-note">{len(messages)} message{plural}; the server received '
        f"{show_bytes(received)} in all, none of it a secret key.</p>"
        f'<ol class="ts-log" tabindex="0" aria-label="Messages">{rows}</ol>'
    )


def _row(message: Message, labels: dict[str, str], encrypted: bool) -> str:
    what = message.what if encrypted else message.what.replace("encrypted", "unencrypted")
    between = SERVER not in (message.sender, message.receiver)
    size = show_bytes(message.size) if message.size else "request"
    time = "by their own channel" if between else show_seconds(message.seconds)
    digest = f"<code>{escape(message.sha256[:12])}…</code>" if message.sha256 else ""
    who = (
        f"<b>{escape(labels.get(message.sender, message.sender))}</b> → "
        f"<b>{escape(labels.get(message.receiver, message.receiver))}</b>"
    )
    return (
        f'<li class="{"between" if between else ""}"><span class="who">{who}</span>'
        f'<span class="what">{escape(what)}</span><span class="size">{size}</span>'
        f'<span class="time">{time}</span><span class="sum">{digest}</span></li>'
    )
