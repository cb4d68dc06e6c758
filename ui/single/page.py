"""The single page: its layout, and the handlers of its buttons.

It is one scrolling page, not a wizard: all messages are visible at once, and a value can be changed
and sent again without going back.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import gradio as gr
from gradio.components import Component

from engines.interface import PublicModel
from features.schema import Party
from ui import panels, texts
from ui.benchmark import comparison
from ui.blocks import cancel_button, fill_by, folded, html, plot, section, step_button
from ui.buttons import WORKS, ends_work, notes, start_as
from ui.examples import load_examples
from ui.forms import build_field, default_record, shown_record
from ui.reasons import AGAINST, has_reasons
from ui.single import buttons as single_buttons
from ui.single.actions import Actions, Handler, View, discard, shown_at_once
from ui.state import PageState
from ui.timeline import timeline

LOOK_SECONDS = 3.0
"""Interval at which a server that could not be reached is tried again, for the refusals shown."""
_button = partial(step_button, classes=WORKS)


def build_page(public: PublicModel, deployment: Path) -> gr.Blocks:
    """Build the page for a public model; `deployment` may hold a measured comparison."""
    with gr.Blocks(title="Triseal", analytics_enabled=False, fill_width=True) as page:
        made = _Page(public, deployment)
        made.start()
        made.wire()
    return page


class _Page:
    """The components and their handlers, created inside `gr.Blocks` from top to bottom."""

    def __init__(self, public: PublicModel, deployment: Path) -> None:
        self.public = public
        self.parties = public.schema_.parties
        self.actions = Actions(public)
        self.examples = load_examples(public.schema_, public.model_version)
        self.fields: list[Component] = []
        self.send_buttons: list[gr.Button] = []
        self.party_panels: list[gr.HTML] = []
        start = PageState()
        self.state = gr.State(start, delete_callback=discard)
        self.timer = gr.Timer(LOOK_SECONDS, active=False)
        self.notes = notes(single_buttons.button_states(start, public))
        html(texts.introduction(public))
        self._toolbar()
        self.strip = html(panels.strip(start, public), "ts-sticky")
        self._steps(start)
        self._closing(start, deployment)

    def _toolbar(self) -> None:
        html(
            '<p class="ts-note">Take the steps below one by one, or all at once. The examples fill '
            "the forms; you can change every value.</p>"
        )
        with gr.Row(elem_classes="ts-bar"):
            self.example_buttons = [
                gr.Button(example.title, size="sm", min_width=200) for example in self.examples
            ]
        with gr.Row(elem_classes="ts-bar"):
            self.all_button = gr.Button(
                "Do all steps",
                size="sm",
                min_width=140,
                variant="primary",
                elem_id=single_buttons.ALL_STEPS,
                elem_classes=WORKS,
            )
            self.over_button = gr.Button(
                "Start over",
                size="sm",
                min_width=120,
                elem_id=single_buttons.START_OVER,
                elem_classes=WORKS,
            )

    def _steps(self, start: PageState) -> None:
        public = self.public
        with section():
            html(
                panels.heading(
                    1,
                    "Make the keys",
                    "Each application has its own keys. The secret key stays with the parties; the "
                    "server receives what it needs to compute, but nothing to decrypt with.",
                )
            )
            with gr.Row(elem_classes="ts-doing"):
                self.keys_button = _button("Make the keys", single_buttons.KEYS)
                self.keys = html(panels.keys_panel(start, public), "ts-panel")
        with section():
            html(
                panels.heading(
                    2,
                    "Each party encrypts and sends",
                    "Each party encodes its record as bits by the public schema and encrypts them. "
                    "Only ciphertext is sent.",
                )
            )
            with gr.Row(elem_classes="ts-parties"):
                for party in self.parties:
                    self._party(start, party)
            self.send_all_button = _button("All parties encrypt and send", single_buttons.SEND_ALL)
        with section():
            html(
                panels.heading(
                    3,
                    "The decision",
                    "The server evaluates the model on the ciphertexts, in a separate process. The "
                    "encrypted result comes back; only the parties can open it.",
                )
            )
            with gr.Row(elem_classes="ts-doing"):
                self.run_button = _button("Run the model", single_buttons.RUN)
                self.cancel_run_button = cancel_button("cancel-run")
                self.run = html(panels.run_panel(start, public), "ts-panel")
            with gr.Row(elem_classes="ts-doing"):
                self.open_button = _button("Open the decision", single_buttons.OPEN)
                self.decision = html(panels.decision_panel(start, public), "ts-panel")
        with section():
            phrase = public.schema_.explanation.phrase.removeprefix("of ")
            html(
                panels.heading(
                    4,
                    "Explain the decision",
                    f"The server scores the same record once for every range of {phrase}: which "
                    "range would likely change the decision, all else being equal?",
                )
            )
            with gr.Row(elem_classes="ts-doing"):
                self.explain_button = _button("Explain the decision", single_buttons.EXPLAIN_STEP)
                self.cancel_explain_button = cancel_button("cancel-explain")
                self.explanation = html(panels.explanation_panel(start, public), "ts-panel")
            self.plot = plot(visible=False)

        with section(has_reasons(public)):
            html(panels.heading(5, "State the reasons", AGAINST))
            with gr.Row(elem_classes="ts-doing"):
                self.reasons_button = _button("State the reasons", single_buttons.REASONS_STEP)
                self.cancel_reasons_button = cancel_button("cancel-reasons")
                self.reasons = html(panels.reasons_panel(start, public), "ts-panel")

    def _party(self, start: PageState, party: Party) -> None:
        columns = len(party.columns)
        # A party with many columns is wide enough for several fields side by side.
        scale = 3 if columns > 8 else 2 if columns > 4 else 1
        with gr.Column(scale=scale, min_width=225, elem_classes="ts-party"):
            html(panels.party_heading(party))
            with gr.Row(elem_classes="ts-fields"):
                self.fields += [build_field(column) for column in party.columns]
            self.send_buttons.append(
                gr.Button(
                    "Encrypt and send",
                    size="md",
                    elem_id=single_buttons.send_button(party.name),
                    elem_classes=WORKS,
                )
            )
            self.party_panels.append(html(panels.party_panel(start, party), "ts-panel"))

    def _closing(self, start: PageState, deployment: Path) -> None:
        with section():
            html(panels.folding_heading("Message log"))
            self.log = html(timeline(start.messages, self.public))
        with folded("Who holds what"):
            html(texts.who_holds_what(self.public))
        with folded("What is protected, and what is not"):
            html(texts.protection(self.public))
        with folded("How does this compare?"):
            html(comparison(deployment))

    @property
    def outputs(self) -> list[Component]:
        """The components in the order of `Actions.view`."""
        return [
            self.state,
            self.strip,
            self.keys,
            *self.party_panels,
            self.run,
            self.decision,
            self.explanation,
            self.plot,
            self.log,
            self.reasons,
            self.cancel_run_button,
            self.cancel_explain_button,
            self.cancel_reasons_button,
            self.timer,
            self.notes,
            *(self._by_id()[name] for name in self.actions.buttons),
        ]

    def _by_id(self) -> dict[str, gr.Button]:
        every = [
            self.keys_button,
            self.send_all_button,
            self.run_button,
            self.open_button,
            self.explain_button,
            self.reasons_button,
            self.all_button,
            self.over_button,
            *self.send_buttons,
        ]
        return {str(button.elem_id): button for button in every}

    def start(self) -> None:
        """Show all buttons as they are before the first step."""
        states = single_buttons.button_states(PageState(), self.public)
        start_as(self._by_id().values(), states)

    def wire(self) -> None:
        """Connect the buttons and the fields to their handlers."""
        do, everything = self.actions, [self.state, *self.fields]
        self._on(self.keys_button, "make_keys", do.make_keys, [self.state], self.keys, 2)
        for party, button, panel in zip(
            self.parties, self.send_buttons, self.party_panels, strict=True
        ):
            self._on(button, f"send_{party.name}", do.sender(party), everything, panel)
        self._on(self.send_all_button, "send_all", do.send_all, everything, list(self.party_panels))
        self._on(self.run_button, "run", do.run, everything, self.run, 2)
        self._on(self.open_button, "open_decision", do.open_decision, [self.state], self.decision)
        self._on(self.explain_button, "explain", do.explain, everything, self.explanation, 2)
        self._on(self.reasons_button, "reasons", do.reasons, everything, self.reasons, 2)
        self._on(self.all_button, "all_steps", do.all_steps, everything, self.run, 2)
        gr.on(
            [
                self.cancel_run_button.click,
                self.cancel_explain_button.click,
                self.cancel_reasons_button.click,
            ],
            shown_at_once(do.cancel),
            [self.state],
            None,
            show_progress="hidden",
            concurrency_limit=4,
            api_name="cancel",
        )
        gr.on(
            [field.change for field in self.fields],
            do.note_changes,
            everything,
            self.outputs,
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_limit=8,
            api_name="note_changes",
        )
        self.timer.tick(
            shown_at_once(do.look_again),
            [self.state],
            self.outputs,
            show_progress="hidden",
            trigger_mode="once",
            concurrency_limit=4,
            api_name="look_again",
        )
        self._wire_forms()

    def _on(
        self,
        button: gr.Button,
        name: str,
        handler: Handler,
        inputs: list[Component],
        busy: Component | list[Component],
        limit: int = 4,
    ) -> None:
        event = button.click(
            self.actions.in_place(handler),
            inputs,
            self.outputs,
            show_progress="full",
            show_progress_on=busy,
            concurrency_limit=limit,
            api_name=name,
        )
        ends_work(event, str(button.elem_id), name)

    def _wire_forms(self) -> None:
        defaults = [
            value for party in self.parties for value in shown_record(party, default_record(party))
        ]

        def start_over(state: PageState) -> Iterator[View]:
            for view in self.actions.start_over(state):
                yield [*view, *defaults]

        event = self.over_button.click(
            start_over,
            [self.state],
            [*self.outputs, *self.fields],
            show_progress="hidden",
            concurrency_limit=4,
            api_name="start_over",
        )
        ends_work(event, single_buttons.START_OVER, "start_over")
        filled = [
            [value for party in self.parties for value in shown_record(party, example.of(party))]
            for example in self.examples
        ]
        fill_by(self.example_buttons, filled, self.fields)
