"""The page of a training: its state, the lenders, charts, the trees, importance and files.

A timer keeps it up to date with the agent (federated/agents/at_work.py) in this process.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from federated.agents.at_work import AtWork, Kind
from ui.blocks import folded, html, plot, section
from ui.consent.handling import Wiring, in_place
from ui.consent.panels import empty
from ui.data_tables import SUMMARY
from ui.federated import panels, texts
from ui.federated.actions import FILES, LATEST, Shown, TrainingActions
from ui.panels import heading
from ui.plots import blank_figure

TICK_SECONDS = 1.0
"""Pause between two waits for a change: a training changes several times a second."""
END: dict[Kind, tuple[str, str]] = {
    "coordinator": ("Cancel the training…", "Cancel it for all"),
    "lender": ("Leave the training…", "Leave it"),
}
"""The button that asks first, and the one that acts."""

_button = partial(gr.Button, scale=0, min_width=120)


def build_training_page(work: AtWork) -> gr.Blocks:
    """Build the page of an agent."""
    with gr.Blocks(title=f"Triseal: {work.name}", analytics_enabled=False) as page:
        _TrainingPage(work).wire(page)
    return page


class _TrainingPage:
    """The components by name, and their handlers, created from top to bottom."""

    def __init__(self, work: AtWork) -> None:
        self.do = TrainingActions(work)
        self.work = work
        self.parts: dict[str, Component] = {"state": gr.State(Shown())}
        self.timer = gr.Timer(TICK_SECONDS)
        self._put("introduction", html(panels.introduction(work, work.agent.known_plan)))
        with section():
            html(heading(None, "State"))
            self._state()
        with section():
            words = "Bytes are those since this agent was started."
            html(heading(None, "Lenders", words if work.kind == "coordinator" else ""))
            self._put("lenders", html(""))
        with section():
            self._progress()
        with section():
            html(heading(None, "Trees", "The rules of a finished tree, one for each leaf."))
            self._put(
                "tree_choice",
                gr.Dropdown(
                    [LATEST],
                    value=LATEST,
                    label="Tree",
                    visible=False,
                    elem_id="tree-choice",
                    elem_classes="ts-plain",
                    min_width=160,
                    # The list grows while it is open.
                    allow_custom_value=True,
                ),
            )
            self._put("rules", html(empty(panels.NO_TREE)))
        with section():
            html(heading(None, "The model", "Importance by party and column, and its files."))
            self._model()
        with section():
            html(heading(None, "Who sees what", "Of the rows of one lender."))
            self._put("seen", html(""))
        with section():
            html(heading(None, "Events", "Newest first; times of this machine."))
            self._put("events", html(""))

    def _put(self, name: str, part: Any) -> Any:
        self.parts[name] = part
        return part

    def _state(self) -> None:
        kind = self.work.kind
        self._put("training", html("", "ts-panel"))
        self._put("codes", html(""))
        self._put("told", html("", "ts-quiet"))
        self._put("end", _button(END[kind][0], min_width=210, elem_id="end"))
        with self._put("confirm_row", gr.Row(visible=False, elem_classes="ts-bar")):
            html(f'<p class="ts-stale">{texts.CONFIRM[kind]}</p>')
            self.really = _button(END[kind][1], variant="stop", min_width=170, elem_id="end-really")
            self.keep = _button("Go on with it", min_width=180, elem_id="keep")

    def _progress(self) -> None:
        html(heading(None, "Progress", "A round opens the sums of one level of one tree."))
        with gr.Row(elem_classes="ts-charts"):
            self._chart("auc", "Validation AUC by tree")
            self._chart("bytes", "Bytes of each round, sent and received here")
        self._chart("strip", "Lenders by tree")
        self._put("strip_key", html(""))
        with folded(SUMMARY):
            self._put("trees", html(empty(panels.NO_TREE)))

    def _chart(self, name: str, title: str) -> None:
        with gr.Column(min_width=290):
            html(f'<h3 class="ts-chart">{title}</h3>')
            self._put(f"{name}_note", html(""))
            self._put(name, plot(blank_figure(), elem_id=f"plot-{name}"))

    def _model(self) -> None:
        self._put("importance_plot", plot(blank_figure(), visible=False))
        self._put("importance", html(empty(panels.NO_IMPORTANCE)))
        with gr.Row():
            for name in FILES:
                self._put(
                    f"download_{name}",
                    gr.DownloadButton(
                        f"Download the {name}",
                        visible=False,
                        min_width=250,
                        scale=0,
                        elem_id=f"download-{name}",
                    ),
                )

    def wire(self, page: gr.Blocks) -> None:
        """Connect the buttons, the timer and the page load to their handlers."""
        do, parts = self.do, self.parts
        wiring, state = Wiring(parts), parts["state"]

        def step(event: Any, handler: Any, name: str, *inputs: Component) -> None:
            wiring.on(event, in_place("ending", handler, do.view), [state, *inputs], name)

        wiring.on(page.load, do.arrive, [state], "arrive")
        wiring.tick(self.timer.tick, do.tick, state)
        choice = parts["tree_choice"]
        step(choice.input, do.choose_tree, "choose_tree", choice)
        step(parts["end"].click, do.ask_end, "ask_end")
        step(self.really.click, do.end, "end")
        step(self.keep.click, do.keep, "keep")
