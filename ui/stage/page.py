"""The stage: the parties' own pages side by side, and the log of all messages between them.

It opens an application and passes each party its join code in the address of its frame; before
that, no party's page is loaded. From then on it holds the application's watch token and, if
`agent_tokens` are set, the tokens that open the parties' pages. The forms, keys and results in the
frames belong to the parties' own processes, which browsers isolate from this page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from anyio import to_thread

from engines.interface import PublicModel
from parties.client import ServerClient
from parties.joint.codes import open_joint
from parties.retrying import may_pass, waiting_words
from settings import Settings
from ui import joint_texts
from ui.benchmark import comparison
from ui.blocks import html, section
from ui.panels import heading
from ui.places import agent_addresses, compliance_link, consent_links, page_place
from ui.reasons import has_reasons
from ui.single.actions import shown_at_once
from ui.stage import beside
from ui.stage import panels as stage_panels
from ui.stage.witness import witness_card, witness_note
from ui.steps import show_steps
from ui.ticks import CONCURRENT_TICKS, TICK_SECONDS, WAIT_SECONDS
from ui.units import escape
from utils.errors import ApplicationError, InvalidRequest, ServerBusy, TrisealError

HEAD = """<script>
// Each frame takes the height that the page in it reports; other senders are ignored.
addEventListener("message", (event) => {
  const height = event.data && event.data.trisealHeight;
  if (!Number.isFinite(height)) return;
  for (const frame of document.querySelectorAll("iframe[data-agent]")) {
    if (frame.contentWindow === event.source && new URL(frame.src).origin === event.origin) {
      frame.style.height = Math.min(Math.max(Math.ceil(height), 300), 6000) + "px";
    }
  }
});
</script>"""

View = list[Any]
NOTHING: View = [gr.skip(), gr.skip()]
WITNESS_SECONDS = 3.0
"""Interval at which the card of the witnesses is updated."""
POLL_SECONDS = 0.6
"""Interval at which a tick reads the application from the server."""


@dataclass
class Watched:
    """The state of one browser session: an application's id and its watch token.

    `turn` alternates with each new set of frames; see `stage_panels.frames`.
    """

    client_id: str = ""
    token: str = ""
    strip: str = ""
    shown: tuple[str, Any] = ("", "")
    quiet_until: float = 0.0
    turn: bool = False


def build_stage(public: PublicModel, client: ServerClient, settings: Settings) -> gr.Blocks:
    """Build the stage for a public model with joint keys on the server of `client`."""
    with gr.Blocks(title="Triseal", analytics_enabled=False, fill_width=True) as page:
        Stage(public, client, settings).wire(page)
    return page


class Stage:
    """The components and their handlers, created inside `gr.Blocks` from top to bottom."""

    def __init__(self, public: PublicModel, client: ServerClient, settings: Settings) -> None:
        self.public, self.client, self.settings = public, client, settings
        self.hosts = page_place(settings).hosts
        self.first = agent_addresses(settings, public.schema_.party_names)
        self.state = gr.State(Watched())
        self.timer = gr.Timer(TICK_SECONDS)
        html(joint_texts.stage_introduction(public))
        self._opening()
        steps = stage_panels.stage_steps(None, (), public)
        self.strip = html(show_steps(steps), "ts-sticky")
        self.frames = html(stage_panels.before_frames(public, self.first))
        with section():
            html(
                heading(
                    None, "Witness", "Evaluates every result again, and signs it or refuses to."
                )
            )
            self.witness = html('<p class="ts-empty">Not asked yet.</p>', "ts-panel")
            self.witness_timer = gr.Timer(WITNESS_SECONDS)
        self._compliance()
        self._consent()
        with section():
            html(heading(None, "Message log"))
            self.log = html(stage_panels.stage_timeline(None, (), public))
        with section():
            html(joint_texts.stage_holds(public))
        with section():
            html(heading(None, "What is protected, and what is not"))
            html(joint_texts.stage_protection(public))
        with section():
            html(
                heading(
                    None,
                    "Compare with Concrete",
                    "Runs one fictitious applicant on this engine and on Concrete, in a separate "
                    "process that plays all parties. On Concrete, one party makes the secret key "
                    "and gives it to the others. Both open scores here, to compare integers.",
                )
            )
            self.beside_button = gr.Button(
                "Run on both engines", min_width=230, scale=0, elem_id="beside"
            )
            self.beside = html(beside.BEFORE, "ts-panel")
        with section():
            html(heading(None, "How does this compare?"))
            html(comparison(settings.deployment))

    def _opening(self) -> None:
        parties = self.public.schema_.parties
        with gr.Row(elem_classes="ts-bar ts-opening"):
            self.button = gr.Button(
                "New application", variant="primary", min_width=200, scale=0, elem_id="new"
            )
            self.readers = gr.CheckboxGroup(
                [(party.label, party.name) for party in parties],
                value=[party.name for party in parties],
                label="Parties that learn the decision",
                elem_id="readers",
                min_width=290,
            )
            concerned = (parties[0].name, self.public.schema_.explained_party)
            self.why = gr.CheckboxGroup(
                [(party.label, party.name) for party in parties],
                value=[party.name for party in parties if party.name in concerned],
                label="Of these, parties that learn the explanation",
                elem_id="explanation-readers",
                min_width=290,
            )
            self.stated = gr.CheckboxGroup(
                [(party.label, party.name) for party in parties],
                value=[parties[0].name],
                label="Of these, parties that learn the reasons for a denial",
                elem_id="reasons-readers",
                min_width=290,
                visible=has_reasons(self.public),
            )
        html(
            '<p class="ts-note">A new application has one join code per party, and the parties\' '
            "pages open below with it. The parties' processes make their joint key at once. Each "
            "party then sends its record and agrees to the decision, and to the explanation"
            f"{' and the reasons' if has_reasons(self.public) else ''}.</p>"
        )

    def _compliance(self) -> None:
        self.compliance: gr.HTML | None = None
        link = compliance_link(self.settings)
        if link is not None:
            with section():
                html(
                    heading(
                        None,
                        "Compliance",
                        "The operator's view of all requests, decisions and permits in the log. "
                        "Its page starts after the others, and may take some seconds.",
                    )
                )
                self.compliance = html(stage_panels.opening_link(link))

    def _consent(self) -> None:
        self.consent: gr.HTML | None = None
        links = consent_links(self.settings)
        if links:
            with section():
                html(
                    heading(
                        None,
                        "Consent",
                        "A data owner and an institution that asks for the use of the owner's "
                        "data. Their pages start after the others, and may take some seconds.",
                    )
                )
                self.consent = html(stage_panels.consent_links(links))

    def called_consent(self, request: gr.Request) -> str:
        """Return the links to both pages under the name that the browser requested."""
        called = self.hosts.named(request.headers.get("host", ""))
        return stage_panels.consent_links(consent_links(self.settings, called))

    def called_compliance(self, request: gr.Request) -> str:
        """Return the link to the compliance page under the name that the browser requested."""
        called = self.hosts.named(request.headers.get("host", ""))
        return stage_panels.opening_link(compliance_link(self.settings, called) or "")

    def open(
        self,
        watched: Watched,
        readers: list[str],
        why: list[str],
        stated: list[str],
        request: gr.Request,
    ) -> View:
        """Open an application and show it in the parties' pages."""
        if not readers:
            raise InvalidRequest("Choose at least one party that learns the result.")
        explained = [name for name in why if name in readers] or readers
        reasons = [name for name in stated if name in readers] or None  # else as the server says
        opened = open_joint(
            self.client, readers, explained, reasons if has_reasons(self.public) else None
        )
        watched.client_id, watched.token = opened.client_id, opened.watch_token
        watched.shown = ("", "")
        watched.turn = not watched.turn
        frames = self._frames(self.addresses(request), opened.codes, watched.turn)
        return [watched, frames, *self._look(watched)]

    def arrive(self, watched: Watched, request: gr.Request) -> View:
        """Return the first view; the address may name an application to watch."""
        client_id, _, token = request.query_params.get("watch", "").partition(".")
        if client_id and token:
            watched.client_id, watched.token = client_id, token
            return [watched, stage_panels.no_frames(), *self._look(watched)]
        addresses = self.addresses(request)
        if addresses == self.first:
            return [watched, gr.skip(), gr.skip(), gr.skip()]
        before = stage_panels.before_frames(self.public, addresses)
        return [watched, before, gr.skip(), gr.skip()]

    def addresses(self, request: gr.Request) -> Mapping[str, str]:
        """Return the addresses at which the requesting browser reaches the parties' pages."""
        called = self.hosts.named(request.headers.get("host", ""))
        return agent_addresses(self.settings, self.public.schema_.party_names, called)

    def _frames(self, addresses: Mapping[str, str], codes: Mapping[str, str], turn: bool) -> str:
        tokens = {
            party: token.get_secret_value() for party, token in self.settings.agent_tokens.items()
        }
        return stage_panels.frames(self.public, addresses, codes, tokens, turn)

    def run_beside(self) -> str:
        """Run one example on both engines; see ui/stage/side_by_side.py."""
        return beside.beside_panel(beside.run_beside(self.settings.deployment))

    def look_at_witness(self) -> str:
        """Return the card of the witnesses, as they are now."""
        return witness_card(self.client, self.settings)

    async def tick(self, watched: Watched) -> View:
        """Wait for a change of the application, at most `WAIT_SECONDS`; return what changed."""
        view = await to_thread.run_sync(self._look, watched)
        end = time.monotonic() + WAIT_SECONDS
        while view == NOTHING and time.monotonic() < end:
            await asyncio.sleep(POLL_SECONDS)
            view = await to_thread.run_sync(self._look, watched)
        return [watched, *view]

    def _look(self, watched: Watched) -> View:
        """Return the strip and the message log, skipped if nothing has changed."""
        if not watched.client_id or time.monotonic() < watched.quiet_until:
            return NOTHING
        try:
            state = self.client.state(watched.client_id, watched.token)
            traffic = self.client.traffic(watched.client_id, watched.token).items
        except TrisealError as error:
            text = error.message
            if may_pass(error):
                pause = error.retry_seconds if isinstance(error, ServerBusy) else POLL_SECONDS
                watched.quiet_until = time.monotonic() + pause
                text = waiting_words(error, pause)
            elif isinstance(error, ApplicationError):  # it is over
                watched.client_id = ""
            # Keep the last view and add the reason why it is not updated.
            note = f'<p class="ts-stale" role="status">{escape(text)}</p>'
            return self._new(watched, watched.strip + note, gr.skip())
        strip = show_steps(stage_panels.stage_steps(state, traffic, self.public))
        watched.strip = strip + witness_note(state)
        log = stage_panels.stage_timeline(state, traffic, self.public)
        return self._new(watched, watched.strip, log)

    def _new(self, watched: Watched, strip: str, log: Any) -> View:
        if (strip, log) == watched.shown:
            return NOTHING
        watched.shown = (strip, log)
        return [strip, log]

    def wire(self, page: gr.Blocks) -> None:
        """Connect the buttons, the timer and the page load to their handlers."""
        looked = [self.strip, self.log]
        self.button.click(
            shown_at_once(self.open),
            [self.state, self.readers, self.why, self.stated],
            [self.state, self.frames, *looked],
            show_progress="hidden",
            concurrency_limit=4,
            api_name="new_application",
        )
        self.beside_button.click(
            shown_at_once(self.run_beside),
            None,
            self.beside,
            show_progress="full",
            concurrency_limit=1,
            api_name="same_on_concrete",
        )
        page.load(
            shown_at_once(self.arrive),
            [self.state],
            [self.state, self.frames, *looked],
            show_progress="hidden",
            concurrency_limit=4,
            api_name="arrive",
        )
        for event, name in ((page.load, "witness_first"), (self.witness_timer.tick, "witness")):
            event(
                shown_at_once(self.look_at_witness),
                None,
                self.witness,
                show_progress="hidden",
                trigger_mode="once",
                concurrency_limit=CONCURRENT_TICKS,
                api_name=name,
            )
        for part, called, name in (
            (self.compliance, self.called_compliance, "compliance"),
            (self.consent, self.called_consent, "consent"),
        ):
            if part is not None:
                page.load(
                    shown_at_once(called),
                    None,
                    part,
                    show_progress="hidden",
                    concurrency_limit=4,
                    api_name=name,
                )
        self.timer.tick(
            shown_at_once(self.tick),
            [self.state],
            [self.state, *looked],
            show_progress="hidden",
            show_progress_on=self.state,  # see ui/ticks.py
            trigger_mode="once",
            concurrency_limit=CONCURRENT_TICKS,
            api_name="tick",
        )
