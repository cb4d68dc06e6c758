"""One party's own page: its form, its key, its agreements, and the results opened for it.

Built from the schema like the single page, but only for this party's columns. A timer keeps the
page up to date with the agent's application (parties/agent.py).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from engines.interface import DECIDE, EXPLAIN, REASONS
from parties.agent import Agent
from parties.reviews import Reviews
from ui import joint_texts
from ui.agent import panels as agent_panels
from ui.agent.actions import AgentActions, PageApplication
from ui.agent.buttons import AGAIN, AGREE, JOIN, SEND, button_states
from ui.agent.listing import ApplicationList
from ui.agent.notice import NoticeSection
from ui.agent.reasons import reasons_panel
from ui.agent.review import ApplicantReview, LenderReviews
from ui.agent.saving import Kind
from ui.blocks import cancel_button, fill_by, folded, html, plot, section, step_button
from ui.buttons import WORKS, ends_work, notes, start_as
from ui.examples import load_examples
from ui.forms import build_field, shown_record
from ui.panels import heading
from ui.reasons import AGAINST, TITLE, has_reasons
from ui.single.actions import shown_at_once
from ui.steps import show_steps
from ui.ticks import CONCURRENT_TICKS, TICK_SECONDS
from ui.timeline import own_timeline

# Narrower than on other pages: the stage shows several of these pages side by side.
_html = partial(html, min_width=250)
_button = partial(step_button, min_width=200, classes=WORKS)

HEAD = """<script>
// In a frame of the stage, the page reports its height and the place of its current step to the
// stage, and nothing else.
if (parent !== window) {
  let told = 0, toldStep = 0;
  setInterval(() => {
    const end = document.getElementById("agent-end");
    if (!end) return;
    const list = end.closest(".gradio-container").classList;
    list.add("ts-framed");
    if (screen.width <= 720) list.add("ts-on-a-phone");
    const height = Math.ceil(end.getBoundingClientRect().bottom + scrollY) + 12;
    const done = document.querySelectorAll(".ts-strip li.done").length;
    const steps = document.querySelectorAll(".ts-section");
    const current = steps[Math.min(done, steps.length - 1)];
    const step = current ? Math.ceil(current.getBoundingClientRect().top + scrollY) : 0;
    if (Math.abs(height - told) > 1 || Math.abs(step - toldStep) > 1) {
      told = height;
      toldStep = step;
      parent.postMessage({trisealHeight: height, trisealStep: step}, "*");
    }
  }, 250);
}
</script>"""

KINDS: dict[Kind, str] = {"txt": "text", "json": "JSON"}
"""The kinds of a person's own copy of the results, and their names."""
PRESS_LINK = """() => {
  const hidden = "button#decision-file-link, #decision-file-link button";
  setTimeout(() => document.querySelector(hidden)?.click(), 100);  // after the page is updated
}"""


def build_agent_page(agent: Agent) -> gr.Blocks:
    """Build the page of the agent's party."""
    with gr.Blocks(title=f"Triseal: {agent.party.label}", analytics_enabled=False) as page:
        made = _AgentPage(agent)
        made.start()
        made.wire(page)
    return page


class _AgentPage:
    """The components and their handlers, created inside `gr.Blocks` from top to bottom."""

    def __init__(self, agent: Agent) -> None:
        self.actions = AgentActions(agent)
        self.party, self.public = agent.party, agent.connection.public
        self.examples = load_examples(self.public.schema_)
        self.state = gr.State(PageApplication())
        self.timer = gr.Timer(TICK_SECONDS)
        _html(agent_panels.agent_introduction(self.public, self.party))
        with gr.Row(elem_classes="ts-join") as self.join_row:
            self.code = gr.Textbox(
                label="Join code",
                placeholder="paste this party's join code",
                max_lines=1,
                elem_id="join-code",
                min_width=180,
            )
            self.join_button = _button("Join", JOIN, min_width=100)
        with folded("Applications of this party") as self.list_section:
            self.list = ApplicationList(agent)
        self.notes = notes(button_states(None, self.public, False))
        steps = agent_panels.agent_steps(None, self.public)
        self.strip = _html(show_steps(steps), "ts-sticky")
        self.again_button = gr.Button(
            "Ask the server again", visible=False, elem_id=AGAIN, elem_classes=WORKS
        )
        self.cancel_button = cancel_button("cancel")
        with section():
            _html(
                heading(
                    1,
                    "The joint key",
                    "All parties make it together; no one holds the whole secret key.",
                )
            )
            self.key = _html(agent_panels.key_panel(None, self.public), "ts-panel")
        with section():
            self._form()
        with section():
            _html(heading(3, "The decision", "Opened once all parties have agreed."))
            self.decide_button = _button("Agree to open the decision", AGREE[DECIDE])
            self.decision = _html(agent_panels.decision_panel(None, self.public), "ts-panel")
            with gr.Row():
                self.save_buttons = [
                    gr.Button(
                        f"Save as a file ({words})",
                        size="sm",
                        visible=False,
                        min_width=170,
                        elem_id=f"save-{kind}",
                        elem_classes=WORKS,
                    )
                    for kind, words in KINDS.items()
                ]
                self.file_button = gr.Button(
                    "Download the decision file",
                    size="sm",
                    visible=False,
                    min_width=200,
                    elem_id="decision-file",
                    elem_classes=WORKS,
                )
            # Pressed by the page itself once the file is there: it cannot be named before.
            self.file = gr.DownloadButton(visible="hidden", elem_id="decision-file-link")
        with section():
            phrase = self.public.schema_.explanation.phrase.removeprefix("of ")
            words = self.public.schema_.decision
            signs = f"{words.approved} or {words.not_approved}".capitalize()
            opened = signs if self.public.opens_sign(EXPLAIN) else "The score"
            _html(heading(4, "The explanation", f"{opened} for every range of {phrase}."))
            self.explain_button = _button("Agree to open the explanation", AGREE[EXPLAIN])
            self.explanation = _html(agent_panels.explanation_panel(None, self.public), "ts-panel")
            self.plot = plot(visible=False)
        with section(has_reasons(self.public)):
            _html(heading(5, TITLE, AGAINST))
            self.reasons_button = _button("Agree to open the reasons", AGREE[REASONS])
            self.reasons = _html(reasons_panel(None, self.public), "ts-panel")
        self.notice: NoticeSection | None = None
        self.review: ApplicantReview | LenderReviews | None = None
        reviews = Reviews(agent.connection, self.party.name)
        if reviews.asks:
            with folded("Notice of a denial"):
                self.notice = NoticeSection(reviews)
        if reviews.asks or reviews.gives:
            title = "Review by a person" if reviews.asks else "Reviews by a person"
            with folded(title) as self.review_section:
                self.review = ApplicantReview(reviews) if reviews.asks else LenderReviews(reviews)
        with folded("Messages of this party"):
            self.log = _html(own_timeline((), self.public, self.party.name))
        with folded("What this process holds"):
            self.holdings = _html(agent_panels.holdings_panel(None), "ts-panel")
            _html(joint_texts.agent_holds(self.public, self.party))
        _html('<div id="agent-end"></div>')

    def _form(self) -> None:
        _html(heading(2, "Encrypt and send", "Only the ciphertext leaves this process."))
        with gr.Row(elem_classes="ts-bar"):
            self.example_buttons = [
                gr.Button(example.label, size="sm", min_width=120) for example in self.examples
            ]
        with gr.Row(elem_classes="ts-fields"):
            self.fields = [build_field(column) for column in self.party.columns]
        self.send_button = _button("Encrypt and send", SEND)
        self.sent = _html(agent_panels.sent_panel(None, self.public, False), "ts-panel")

    @property
    def outputs(self) -> list[Component]:
        """The components in the order of `AgentActions.view`."""
        return [
            self.state,
            self.join_row,
            self.strip,
            self.again_button,
            self.cancel_button,
            self.key,
            self.sent,
            self.decide_button,
            self.decision,
            self.explain_button,
            self.explanation,
            self.plot,
            self.reasons_button,
            self.reasons,
            self.log,
            self.holdings,
            self.file_button,
            *self.save_buttons,
            self.join_button,
            self.send_button,
            self.list.leave,
            self.notes,
        ]

    def start(self) -> None:
        """Show all buttons as they are before the first step."""
        steps = [self.join_button, self.again_button, self.send_button, self.list.leave]
        agreed = [self.decide_button, self.explain_button, self.reasons_button]
        start_as([*steps, *agreed], button_states(None, self.public, False))

    def wire(self, page: gr.Blocks) -> None:
        """Connect the buttons, the fields, the timer and the page load to their handlers."""
        do, everything = self.actions, [self.state, *self.fields]
        self._on(page.load, do.arrive, [self.state], "arrive", self.fields)
        by_code = [self.state, self.code]
        self._step("join", self.join_button, do.join, by_code, "join")
        joined = do.in_place("join", do.join)
        self._on(self.code.submit, joined, by_code, "join_by_enter")
        self._step("join", self.again_button, do.try_again, [self.state], "try_again")
        self._step("join", self.cancel_button, do.cancel, [self.state], "cancel")
        self._step("send", self.send_button, do.send, everything, "send")
        buttons = (self.decide_button, self.explain_button, self.reasons_button)
        for program, button in zip((DECIDE, EXPLAIN, REASONS), buttons, strict=True):
            self._step(program, button, do.agree(program), everything, f"agree_{program}")
        self._download(self.file_button, do.decision_file, "decision_file")
        for kind, button in zip(KINDS, self.save_buttons, strict=True):
            self._download(button, do.save(kind), f"save_{kind}")
        self._wire_list()
        self._on(
            self.timer.tick,
            do.tick,
            [self.state],
            "tick",
            self.fields,
            mode="once",
            limit=CONCURRENT_TICKS,
        )
        gr.on(
            [component.change for component in self.fields],
            shown_at_once(do.note_changes),
            everything,
            self.outputs,
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_limit=8,
            api_name="note_changes",
        )
        if self.notice is not None:
            self.notice.wire(self.state, do.shown)
        if self.review is not None:
            self.review.wire(self.review_section, self.state, do.shown)
        filled = [shown_record(self.party, example.of(self.party)) for example in self.examples]
        fill_by(self.example_buttons, filled, self.fields)

    def _wire_list(self) -> None:
        """Connect the list of applications, which is read when it is unfolded."""
        do, listed = self.actions, self.list

        def opened(shown: PageApplication, client_id: str | None) -> list[Any]:
            return [*do.open(shown, client_id), *listed.view(shown.client_id)]

        def left(shown: PageApplication) -> list[Any]:
            return [*do.leave(shown), *listed.view("")]

        def look(shown: PageApplication) -> list[Any]:
            return listed.view(shown.client_id)

        self._on(
            listed.button.click,
            opened,
            [self.state, listed.chosen],
            "open_application",
            [*self.fields, *listed.outputs],
        )
        self._on(listed.leave.click, left, [self.state], "leave", listed.outputs)
        self.list_section.expand(
            shown_at_once(look),
            [self.state],
            listed.outputs,
            show_progress="hidden",
            concurrency_limit=8,
            api_name="list_applications",
        )

    def _download(self, button: gr.Button, handler: Any, name: str) -> None:
        made = self._on(button.click, handler, [self.state], name, [self.file])
        ends_work(made, str(button.elem_id), name)
        made.then(None, None, None, js=PRESS_LINK, api_name=f"{name}_link", concurrency_limit=8)

    def _step(
        self, step: str, button: gr.Button, handler: Any, inputs: list[Component], name: str
    ) -> None:
        event = self._on(button.click, self.actions.in_place(step, handler), inputs, name)
        ends_work(event, str(button.elem_id), name)

    def _on(
        self,
        event: Any,
        handler: Any,
        inputs: list[Component],
        name: str,
        more: list[Component] | None = None,
        mode: str | None = None,
        limit: int = 8,
    ) -> Any:
        return event(
            shown_at_once(handler),
            inputs,
            [*self.outputs, *(more or [])],
            show_progress="hidden",
            show_progress_on=self.state,  # see ui/ticks.py
            trigger_mode=mode,
            concurrency_limit=limit,
            api_name=name,
        )
