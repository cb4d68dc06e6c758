"""The stage: the parties' own pages side by side, and the log of all messages between them.

It opens an application and passes each party its join code in the address of its frame; before
that, no party's page is loaded. From then on it holds the application's watch token, which is also
in the fragment of the page's own address, and, if `agent_tokens` are set, the tokens that open the
parties' pages. With `demonstration_tokens` it can play an example: it has the parties' agents send
their parts of it and agree. The forms, keys and results in the frames belong to the parties' own
processes, which browsers isolate from this page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from anyio import to_thread

from contract.http import ApplicationState, TrafficItem
from engines.interface import REASONS, PublicModel
from parties.client import ServerClient
from parties.joint.codes import open_joint
from parties.retrying import may_pass, waiting_words
from settings import Settings
from ui import joint_texts
from ui.benchmark import comparison
from ui.blocks import folded, html, section
from ui.buttons import button_properties
from ui.error_words import ErrorWords, error_words, waiting_words_html, words_html
from ui.examples import load_examples
from ui.panels import folding_heading, heading
from ui.places import agent_addresses, compliance_link, consent_links, page_place
from ui.reasons import has_reasons
from ui.single.actions import shown_at_once
from ui.stage import beside
from ui.stage import panels as stage_panels
from ui.stage.agents import Agents
from ui.stage.controls import Control, controls_of
from ui.stage.figures import BEFORE, NEAR_THE_LINE, figures
from ui.stage.opened import OpenedApplications, OpenedHere
from ui.stage.playing import FINISHED, Due, Play, due
from ui.stage.presence import SCRIPT, Presence
from ui.stage.scripts import ADDRESS, FRAGMENT
from ui.stage.scripts import HEAD as STAGE_HEAD
from ui.stage.witness import witness_card, witness_note, witness_status
from ui.steps import show_steps
from ui.ticks import CONCURRENT_TICKS, TICK_SECONDS, WAIT_SECONDS
from utils.errors import ApplicationError, ServerBusy, TrisealError

__all__ = ["HEAD", "build_stage"]

HEAD = STAGE_HEAD + SCRIPT

View = list[Any]
WITNESS_SECONDS = 3.0
"""Interval at which the card of the witnesses is updated."""
PRESENCE_SECONDS = 1.5
"""Interval at which the notes on the parties' processes are updated."""
NO_READER = ErrorWords("Choose at least one party that learns the decision.")
POLL_SECONDS = 0.6
"""Interval at which a tick reads the application from the server."""
WATCH = "#watch="
CONTROLS = ("strip", "play", "next", "new", "notes", "refusal", "example")
"""Parts that are sent once more after a change."""


@dataclass
class Watched:
    """The state of one browser session: an application's id and its watch token.

    `turn` alternates with each new set of frames; see `stage_panels.frames`. `shown` has the parts
    of the page as they were sent last; unless `settled`, the controls are sent once more. `refused`
    is why the last button did nothing.
    """

    client_id: str = ""
    token: str = ""
    turn: bool = False
    over: bool = False
    step: Due = field(default_factory=lambda: Due(""))
    refused: ErrorWords | None = None
    strip: str = ""
    shown: dict[str, Any] = field(default_factory=dict)
    settled: bool = True
    quiet_until: float = 0.0

    @property
    def fragment(self) -> str:
        """The fragment of the page's address that leads back to the application."""
        return f"{WATCH}{self.client_id}.{self.token}" if self.token else ""

    @property
    def under_way(self) -> bool:
        """True if the application has neither ended nor been explained."""
        done = self.over or self.step.step in (REASONS, FINISHED)
        return bool(self.token) and not done


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
        self.agents = Agents(settings, public.schema_.party_names)
        self.opened = OpenedApplications(self._play_of)
        self.examples = load_examples(public.schema_, public.model_version)
        self._status: Mapping[str, Any] = {}
        self.presence = Presence(public.schema_.parties, settings)
        self.state = gr.State(Watched())
        self.timer = gr.Timer(TICK_SECONDS)
        html(joint_texts.stage_introduction(public))
        self._opening()
        steps = stage_panels.stage_steps(None, (), public)
        self.strip = html(show_steps(steps) + self._first_note(), "ts-sticky")
        self.frames = html(stage_panels.before_frames(public, self.first))
        self.absent = html('<div id="absent" hidden></div>', "ts-absences")
        self.presence_timer = gr.Timer(PRESENCE_SECONDS)
        with section():
            html(folding_heading("Times and sizes"))
            self.figures = html(BEFORE, "ts-panel")
            html(f'<p class="ts-note">{NEAR_THE_LINE}</p>')
        with section():
            html(folding_heading("What has travelled"))
            self.log = html(stage_panels.stage_timeline(None, (), public))
        with section():
            html(
                folding_heading(
                    "Witness", "Evaluates every result again, and signs it or refuses to."
                )
            )
            self.witness = html('<p class="ts-empty">Not asked yet.</p>', "ts-panel")
            self.witness_timer = gr.Timer(WITNESS_SECONDS)
        self._other_pages()
        with folded("Compare with Concrete on the same program"):
            html(
                '<p class="ts-note">Runs the chosen example on this engine and on Concrete, in a '
                "separate process that plays all parties. On Concrete, one party makes the secret "
                "key and gives it to the others. Both engines run the same program here and open "
                f"its scores, to compare integers. {NEAR_THE_LINE}</p>"
            )
            self.beside_button = gr.Button(
                "Run on both engines", min_width=230, scale=0, elem_id="beside"
            )
            self.beside = html(beside.BEFORE, "ts-panel")
        with folded("Who holds what"):
            html(joint_texts.stage_holds(public))
        with folded("What is protected, and what is not"):
            html(joint_texts.stage_protection(public))
        with folded("How does this compare?"):
            html(comparison(settings.deployment))

    def _opening(self) -> None:
        plays = self.agents.complete
        first = controls_of(Due(""), None, plays, self.public)
        with section():
            html(
                heading(
                    None,
                    "Play it through" if plays else "Open an application",
                    "Choose an applicant and watch every step, or fill in the parties' forms "
                    "yourself. Every application has its own joint key."
                    if plays
                    else "Each party gets a join code for it and opens its own page below.",
                )
            )
            self.example = gr.Radio(
                [(example.title, i) for i, example in enumerate(self.examples)],
                value=_first_example([example.expect for example in self.examples]),
                label="Example applicant",
                # Always there, so that nothing moves once it applies.
                info="It can be changed until the first record is sent.",
                elem_id="example",
                visible=plays,
                interactive=True,
            )
            with gr.Row(elem_classes="ts-bar ts-opening"):
                self.play = gr.Button(elem_id="play", visible=plays, **_button(first.play))
                self.next = gr.Button(elem_id="next", visible=plays, **_button(first.next))
                self.button = gr.Button(elem_id="new", **_button(first.new))
            self.notes = html(first.notes, "ts-unseen")
            self.refusal = html("", "ts-quiet")
            with folded("Who learns the results"):
                self._readers()
        # The page's address, as JavaScript reads it and sets it.
        self.address = gr.Textbox(visible="hidden", elem_id="address", label="Address")

    def _readers(self) -> None:
        parties = self.public.schema_.parties
        with gr.Row(elem_classes="ts-opening"):
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

    def _first_note(self) -> str:
        if self.agents.complete:
            text = "Nothing is under way. Press “Play it through” to see all of it."
        else:
            text = "Nothing is under way. Press “New application”."
        return stage_panels.progress_note(text, None, "ts-note")

    def _other_pages(self) -> None:
        self.compliance: gr.HTML | None = None
        self.consent: gr.HTML | None = None
        compliance, consent = compliance_link(self.settings), consent_links(self.settings)
        if compliance is None and not consent:
            return
        with section():
            html(
                folding_heading(
                    "Other pages",
                    "The operator's view of all requests, decisions and permits in the log; a data "
                    "owner, and an institution that asks for the use of the owner's data. They "
                    "start after this page, and may take some seconds.",
                )
            )
            if compliance is not None:
                self.compliance = html(stage_panels.opening_link(compliance))
            if consent:
                self.consent = html(stage_panels.consent_links(consent))

    def called_consent(self, request: gr.Request) -> str:
        """Return the links to both pages under the name that the browser requested."""
        called = self.hosts.named(request.headers.get("host", ""))
        return stage_panels.consent_links(consent_links(self.settings, called))

    def called_compliance(self, request: gr.Request) -> str:
        """Return the link to the compliance page under the name that the browser requested."""
        called = self.hosts.named(request.headers.get("host", ""))
        return stage_panels.opening_link(compliance_link(self.settings, called) or "")

    def _play_of(self, client_id: str, token: str) -> Play:
        return Play(self.client, self.agents, self.public, client_id, token)

    def open(
        self,
        watched: Watched,
        readers: list[str],
        why: list[str],
        stated: list[str],
        request: gr.Request,
    ) -> View:
        """Open an application and show it in the parties' pages."""
        watched.refused = None
        if not readers:
            watched.refused = NO_READER
            return self._view(watched)
        explained = [name for name in why if name in readers] or readers
        reasons = [name for name in stated if name in readers] or None  # else as the server says
        try:
            self.presence.require_all()
            opening = open_joint(
                self.client, readers, explained, reasons if has_reasons(self.public) else None
            )
        except TrisealError as error:
            watched.refused = error_words(error, self.public.schema_)
            return self._view(watched)
        before = self._here(watched)
        if before is not None:
            before.play.pause()
        watched.client_id, watched.token = opening.client_id, opening.watch_token
        watched.over, watched.step = False, Due("")
        here = self.opened.add(opening)
        return self._shown(watched, here, request)

    def player(self, single: bool) -> Callable[..., View]:
        """Return the handler of the button that plays to the end or pauses, or takes one step.

        It opens an application if none is under way.
        """

        def play(
            watched: Watched,
            example: int,
            readers: list[str],
            why: list[str],
            stated: list[str],
            request: gr.Request,
        ) -> View:
            here = self._here(watched)
            if not single and here is not None and here.play.running:
                here.play.pause()
                return self._view(watched)
            watched.refused = None
            view: View | None = None
            if not watched.token or watched.over or watched.step.step == FINISHED:
                view = self.open(watched, readers, why, stated, request)
            here = self._here(watched)
            if here is None or watched.refused is not None:
                return view or self._view(watched)
            here.play.start(example, single)
            later = self._view(watched)
            return (
                later
                if view is None
                else [b if b != gr.skip() else a for a, b in zip(view, later, strict=True)]
            )

        return play

    def arrive(self, watched: Watched, address: str, request: gr.Request) -> View:
        """Return the first view; the fragment of the address may name an application."""
        client_id, _, token = address.removeprefix(WATCH).partition(".")
        if address.startswith(WATCH) and client_id and token:
            watched.client_id, watched.token = client_id, token
            return self._shown(watched, self._here(watched), request)
        addresses = self.addresses(request)
        before = None
        if addresses != self.first:
            before = stage_panels.before_frames(self.public, addresses)
        return self._view(watched, frames=before)

    def _shown(self, watched: Watched, here: OpenedHere | None, request: gr.Request) -> View:
        """Return the view of another application, in the parties' pages if it was opened here."""
        watched.shown.clear()
        watched.quiet_until = 0.0
        watched.turn = not watched.turn
        frames = stage_panels.no_frames()
        if here is not None:
            frames = self._frames(self.addresses(request), here.codes, watched.turn)
        return self._look(watched, frames=frames)

    def _here(self, watched: Watched) -> OpenedHere | None:
        return self.opened.find(watched.client_id, watched.token) if watched.token else None

    def addresses(self, request: gr.Request) -> Mapping[str, str]:
        """Return the addresses at which the requesting browser reaches the parties' pages."""
        called = self.hosts.named(request.headers.get("host", ""))
        return agent_addresses(self.settings, self.public.schema_.party_names, called)

    def _frames(self, addresses: Mapping[str, str], codes: Mapping[str, str], turn: bool) -> str:
        tokens = {
            party: token.get_secret_value() for party, token in self.settings.agent_tokens.items()
        }
        return stage_panels.frames(self.public, addresses, codes, tokens, turn)

    def run_beside(self, example: int) -> str:
        """Run the chosen example on both engines; see ui/stage/side_by_side.py."""
        try:
            return beside.beside_panel(beside.run_beside(self.settings.deployment, example))
        except TrisealError as error:
            return words_html(ErrorWords("The comparison is not possible now.", error.message))

    def look_at_witness(self) -> str:
        """Return the card of the witnesses, as they are now."""
        self._status = witness_status(self.settings.witness_port)
        return witness_card(self.client, self._status)

    async def tick(self, watched: Watched) -> View:
        """Wait for a change of the application, at most `WAIT_SECONDS`; return what changed."""
        if not watched.settled:
            # The result of a click may have arrived before that of an earlier tick.
            for name in CONTROLS:
                watched.shown.pop(name, None)
        view = await to_thread.run_sync(self._look, watched)
        if not watched.settled:
            watched.settled = True
            return view
        end = time.monotonic() + WAIT_SECONDS
        while self._is_empty(view) and time.monotonic() < end:
            await asyncio.sleep(POLL_SECONDS)
            view = await to_thread.run_sync(self._look, watched)
        return view

    @staticmethod
    def _is_empty(view: View) -> bool:
        return all(part == gr.skip() for part in view[1:])

    def _look(self, watched: Watched, frames: str | None = None) -> View:
        """Read the application from the server and return the view."""
        if not watched.token or watched.over or time.monotonic() < watched.quiet_until:
            return self._view(watched, frames=frames)
        try:
            state = self.client.state(watched.client_id, watched.token)
            traffic = self.client.traffic(watched.client_id, watched.token).items
        except TrisealError as error:
            schema, busy = self.public.schema_, isinstance(error, ServerBusy)
            told = words_html(error_words(error, schema), "ts-stale", "status")
            if may_pass(error):
                pause = error.retry_seconds if isinstance(error, ServerBusy) else POLL_SECONDS
                watched.quiet_until = time.monotonic() + pause
                told = waiting_words_html(waiting_words(error, pause), busy, schema)
            elif isinstance(error, ApplicationError):
                watched.over = True
            # Keep the last view and add the reason why it is not updated.
            return self._view(watched, strip=self._stale(watched, told), frames=frames)
        here = self._here(watched)
        needless = here is not None and here.play.needless
        watched.step = due(state, traffic, self.public, needless)
        watched.strip = self._strip(watched, here, state, traffic)
        return self._view(
            watched,
            frames=frames,
            strip=watched.strip,
            log=stage_panels.stage_timeline(state, traffic, self.public),
            figures=figures(state, traffic, self._status, self.public),
        )

    def _stale(self, watched: Watched, told: str) -> str:
        strip = watched.strip or show_steps(stage_panels.stage_steps(None, (), self.public))
        return strip + told

    def _strip(
        self,
        watched: Watched,
        here: OpenedHere | None,
        state: ApplicationState,
        traffic: tuple[TrafficItem, ...],
    ) -> str:
        """Return the steps, the progress of the current one, and the witnesses waited for."""
        needless = here is not None and here.play.needless
        strip = show_steps(stage_panels.stage_steps(state, traffic, self.public, needless))
        problem = None if here is None else here.play.problem
        if problem is not None:
            words = error_words(problem, self.public.schema_)
            note = words_html(words, "ts-stale", "status")
        else:
            playing = here is not None and here.play.running
            note = stage_panels.step_note(watched.step, playing, state, self.public)
        return strip + note + witness_note(state)

    def _view(self, watched: Watched, **parts: Any) -> View:
        """Return the state and all parts, those skipped that are as they were sent last."""
        here = self._here(watched)
        controls = controls_of(
            watched.step if watched.token and not watched.over else Due(""),
            None if here is None else here.play,
            self.agents.complete and (here is not None or not watched.token or watched.over),
            self.public,
            watched.under_way,
        )
        found = {
            "frames": parts.get("frames"),
            "strip": parts.get("strip"),
            "log": parts.get("log"),
            "figures": parts.get("figures"),
            "play": _button(controls.play),
            "next": _button(controls.next),
            "new": _button(controls.new),
            "notes": controls.notes,
            "refusal": "" if watched.refused is None else words_html(watched.refused),
            "example": {"interactive": controls.chooses},
            "address": watched.fragment or None,
        }
        return [watched, *(self._changed(watched, name, value) for name, value in found.items())]

    @staticmethod
    def _changed(watched: Watched, name: str, value: Any) -> Any:
        if value is None or watched.shown.get(name) == value:
            return gr.skip()
        watched.shown[name] = value
        watched.settled = False
        return gr.update(**value) if isinstance(value, dict) else value

    def _choose(self, watched: Watched, readers: list[str]) -> View:
        """Withdraw a refusal, or refuse at once if no party is left that learns the decision.

        An earlier choice may be handled after the button, but the last one is handled last.
        """
        watched.refused = None if readers else NO_READER
        return self._view(watched)

    def wire(self, page: gr.Blocks) -> None:
        """Connect the buttons, the timer and the page load to their handlers."""
        choices = [self.readers, self.why, self.stated]
        example = [self.state, self.example, *choices]
        for button, handler, inputs, name in (
            (self.button, self.open, [self.state, *choices], "new_application"),
            (self.play, self.player(single=False), example, "play"),
            (self.next, self.player(single=True), example, "next_step"),
        ):
            self._on(button.click, handler, inputs, name).then(
                None, [self.address], None, js=ADDRESS, api_name=f"{name}_address",
                concurrency_limit=8,
            )  # fmt: skip
        for choice, name in zip(choices, ("readers", "explained", "reasons"), strict=True):
            chosen = [self.state, self.readers]
            mode = "always_last"
            self._on(choice.input, self._choose, chosen, f"choose_{name}", trigger_mode=mode)
        self._on(page.load, self.arrive, [self.state, self.address], "arrive", js=FRAGMENT)
        self._on(
            self.timer.tick, self.tick, [self.state], "tick", CONCURRENT_TICKS, trigger_mode="once"
        )
        self.beside_button.click(
            shown_at_once(self.run_beside),
            [self.example],
            self.beside,
            show_progress="full",
            concurrency_limit=1,
            api_name="same_on_concrete",
        )
        for event, name in ((page.load, "presence_first"), (self.presence_timer.tick, "presence")):
            event(
                shown_at_once(self.presence.notes),
                None,
                self.absent,
                show_progress="hidden",
                trigger_mode="once",
                concurrency_limit=CONCURRENT_TICKS,
                api_name=name,
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

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The components in the order of `_view`."""
        return [
            self.state,
            *(self.frames, self.strip, self.log, self.figures),
            *(self.play, self.next, self.button, self.notes, self.refusal),
            *(self.example, self.address),
        ]

    def _on(
        self,
        event: Any,
        handler: Callable[..., Any],
        inputs: list[Any],
        name: str,
        limit: int = 4,
        **more: Any,
    ) -> Any:
        return event(
            shown_at_once(handler),
            inputs,
            self.outputs,
            show_progress="hidden",
            show_progress_on=self.state,  # see ui/ticks.py
            concurrency_limit=limit,
            api_name=name,
            **more,
        )


def _button(control: Control) -> dict[str, Any]:
    """Return the properties of a button, whose visibility does not change."""
    properties = button_properties(control.state)
    properties.pop("visible")
    return {
        **properties,
        "value": control.label,
        "min_width": 250,
        "scale": 0,
    }


def _first_example(outcomes: list[str]) -> int:
    """Return the first example that is denied and may be turned, else the first one."""
    return next((i for i, words in enumerate(outcomes) if "would likely change" in words), 0)
