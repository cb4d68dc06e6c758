"""Finding out whether the parties' processes run, and the notes in the frames of those that do not.

A process runs if its port accepts connections and, behind a proxy, unless the proxy reports that it
cannot reach it. That is asked for all browser sessions together.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from urllib.parse import urlsplit

import httpx

from features.schema import Party
from settings import Settings
from ui.error_words import folded_html
from ui.places import agent_addresses
from ui.units import escape, join_words
from utils.certificates import verification
from utils.errors import AgentUnreachable

ASK_SECONDS = 1.0
"""Shortest time between two checks."""
CONNECT_SECONDS = 1.0
GATEWAY_ERRORS = (502, 503, 504)
"""Statuses by which a proxy reports that it cannot reach what it stands for (RFC 9110)."""
_OPERATOR = "For the person who runs it"
_COMMAND = ".venv/bin/python -m parties --party {party}"

SCRIPT = """<script>
// Each note on a party's process is shown in the party's frame. It comes in a component of its own,
// because a new frame would load the party's page again. When the process is back, its page is.
setInterval(() => {
  for (const figure of document.querySelectorAll("figure[data-party]")) {
    const note = document.querySelector(`#absent [data-absent="${figure.dataset.party}"]`);
    const shown = figure.querySelector(".ts-absent");
    if (!note && shown) {
      shown.remove();
      const frame = figure.querySelector("iframe");
      if (frame) frame.src = frame.src;
    }
    if (note && (!shown || shown.noted !== note.innerHTML)) {
      const made = shown || document.createElement("div");
      made.className = "ts-absent";
      made.setAttribute("role", "status");
      made.noted = made.innerHTML = note.innerHTML;
      if (!shown) figure.querySelector("figcaption").after(made);
    }
  }
}, 500);
</script>"""
"""Belongs to the head of the stage's page."""


class Presence:
    """The processes of the parties, and how each is started by hand."""

    def __init__(self, parties: Sequence[Party], settings: Settings) -> None:
        self._parties, self._settings = parties, settings
        self._addresses = agent_addresses(settings, [party.name for party in parties])
        self._through_proxy = (
            httpx.Client(
                verify=verification(settings.server_ca), timeout=CONNECT_SECONDS, trust_env=False
            )
            if settings.agent_url
            else None
        )
        self._lock, self._asked = threading.Lock(), 0.0
        self._absent: tuple[Party, ...] = ()

    def absent(self) -> tuple[Party, ...]:
        """Return the parties whose processes do not run, as of the last `ASK_SECONDS`."""
        with self._lock:
            if time.monotonic() - self._asked >= ASK_SECONDS:
                self._absent = tuple(
                    party for party in self._parties if not self._runs(self._addresses[party.name])
                )
                self._asked = time.monotonic()
            return self._absent

    def require_all(self) -> None:
        """Raise AgentUnreachable if a party's process does not run."""
        absent = self.absent()
        if absent:
            raise AgentUnreachable(
                f"No application was opened: {self._not_running(absent)}. The column of each "
                "below says how to start it."
            )

    def missing(self) -> str:
        """Return which processes do not run, and how to start them; empty if all run."""
        absent = self.absent()
        if not absent:
            return ""
        commands = "; ".join(self._command(party) for party in absent)
        return (
            f"Each party needs a process of its own: {self._not_running(absent)}. Start each in a "
            f"terminal of its own: {commands}"
        )

    def notes(self) -> str:
        """Return the notes for the frames as HTML, hidden until `SCRIPT` shows them there."""
        notes = "".join(
            f'<div data-absent="{escape(party.name)}">{self._note(party)}</div>'
            for party in self.absent()
        )
        return f'<div id="absent" hidden>{notes}</div>'

    def _runs(self, address: str) -> bool:
        """Return False if the process at this address does not run; True if that is not known."""
        if not _accepts(address):
            return False
        if self._through_proxy is None:
            return True
        try:
            return self._through_proxy.head(f"{address}/").status_code not in GATEWAY_ERRORS
        except httpx.HTTPError:
            return True

    def _note(self, party: Party) -> str:
        label, by_hand = escape(party.label.lower()), f"<code>{escape(self._command(party))}</code>"
        if party.name in self._settings.agent_commands:
            return (
                f"<p><b>The {label}'s process has ended.</b> It is started again in some seconds, "
                "and then goes on where it was: nothing that it has sent is lost.</p>"
                + folded_html(_OPERATOR, f"If it does not come back, start it by hand: {by_hand}")
            )
        return (
            f"<p><b>The {label}'s process does not run.</b> No application can be opened without "
            "it.</p>"
            + folded_html(
                _OPERATOR,
                f"Start it in a terminal of its own, and open the link that it prints: {by_hand}",
            )
        )

    @staticmethod
    def _not_running(absent: Sequence[Party]) -> str:
        labels = [f"the {party.label.lower()}" for party in absent]
        if len(labels) == 1:
            return f"the process of {labels[0]} does not run"
        return f"the processes of {join_words(labels)} do not run"

    def _command(self, party: Party) -> str:
        return self._settings.agent_commands.get(party.name, _COMMAND.format(party=party.name))


def _accepts(address: str) -> bool:
    """Return False if nothing listens there.

    True if that is not known: after a timeout, or for a public name that only browsers resolve.
    """
    parts = urlsplit(address)
    place = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with closing(socket.create_connection(place, CONNECT_SECONDS)):
            return True
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
