"""An institution's page: connect with owners, browse descriptions, ask, and use what is approved.

A timer keeps it up to date with the agent (parties/governance/institution.py) in this process.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr
from gradio.components import Component

from parties.governance.institution import Institution
from ui.blocks import folded, html, section, step_button
from ui.consent import panels
from ui.consent.handling import Wiring, in_place
from ui.consent.words import ACTION_CHOICES, purpose_choices
from ui.institution.actions import (
    STATISTIC_FIELDS,
    InstitutionActions,
    Shown,
    inputs_of_ask,
)
from ui.institution.asking import STATISTICS
from ui.institution.panels import NO_REQUESTS, NOT_CONNECTED, NOT_FOUND, WHAT
from ui.panels import heading
from ui.ticks import TICK_SECONDS

HOURS = {"1 hour": 1, "1 day": 24, "7 days": 7 * 24, "30 days": 30 * 24, "90 days": 90 * 24}
PERIODS = [("in all", ""), ("per hour", "hour"), ("per day", "day"), ("in 30 days", "month")]

_button = partial(gr.Button, scale=0, min_width=120)
_dropdown = partial(gr.Dropdown, filterable=False, min_width=150)


def build_institution_page(institution: Institution) -> gr.Blocks:
    """Build the page of an institution's agent."""
    with gr.Blocks(title=f"Triseal: {institution.name}", analytics_enabled=False) as page:
        _InstitutionPage(institution).wire(page)
    return page


class _InstitutionPage:
    """The components by name, and their handlers, created from top to bottom."""

    def __init__(self, institution: Institution) -> None:
        self.do = InstitutionActions(institution)
        self.parts: dict[str, Component] = {"state": gr.State(Shown())}
        self.timer = gr.Timer(TICK_SECONDS)
        html(panels.introduction(institution.name, institution.key, WHAT, "The owner"))
        with section():
            html(heading(1, "Connect", "With the code that an owner of data has given to you."))
            self._sessions()
        with section():
            html(heading(2, "Browse", "What the owner's data sets are about; never their values."))
            self._browse()
        with section():
            html(heading(3, "Ask", "Try it on invented data first; then the owner decides."))
            self._put("not_asked", html(panels.empty(NOT_FOUND)))
            with self._put("ask_box", gr.Column(visible=False)):
                self._ask()
            self._put("told_ask", html("", "ts-quiet"))
            self._put("mock", html(""))
        with section():
            html(heading(4, "Requests", "Their states, the results, and the owner's receipts."))
            self._requests()
        with folded("What happened here"):
            self._put("activity", html(""))

    def _put(self, name: str, part: Any) -> Any:
        self.parts[name] = part
        return part

    def _sessions(self) -> None:
        self._put("told_sessions", html("", "ts-quiet"))
        with gr.Row(elem_classes="ts-bar ts-ends"):
            self._put(
                "code",
                gr.Textbox(
                    label="Code",
                    placeholder="paste the owner's code",
                    max_lines=1,
                    max_length=200,
                    elem_id="code",
                    min_width=200,
                ),
            )
            self.connect = step_button("Connect", "connect", min_width=140)
        self._put("sessions", html(""))
        with self._put("end_row", gr.Row(visible=False, elem_classes="ts-bar ts-ends")):
            self._put("session_choice", _dropdown([], label="Session", elem_id="session-choice"))
            self.end = _button("End the session", elem_id="end-session", min_width=190)

    def _browse(self) -> None:
        self._put("told_browse", html("", "ts-quiet"))
        with self._put("browse_box", gr.Row(visible=False, elem_classes="ts-bar ts-ends")):
            self._put("owner_choice", _dropdown([], label="Owner", elem_id="owner-choice"))
            self._put(
                "search_words",
                gr.Textbox(
                    label="Words in the description",
                    max_lines=1,
                    max_length=200,
                    elem_id="search-words",
                    min_width=150,
                ),
            )
            self._put(
                "search_tag",
                gr.Textbox(
                    label="Tag", max_lines=1, max_length=40, elem_id="search-tag", min_width=110
                ),
            )
            self.search = step_button("Search", "search", min_width=120)
        self._put("found", html(panels.empty(NOT_CONNECTED)))

    def _ask(self) -> None:
        with gr.Row(elem_classes="ts-fields"):
            self._put("data_set", _dropdown([], label="Data set", elem_id="data-set"))
            self._put(
                "action",
                _dropdown(
                    [(words, name) for name, words in ACTION_CHOICES.items()],
                    value="statistic",
                    label="What you ask for",
                    elem_id="action",
                    elem_classes="ts-wide",
                ),
            )
        with self._put("statistic_box", gr.Column()), gr.Row(elem_classes="ts-fields"):
            self._statistic()
        self._put(
            "fields",
            gr.CheckboxGroup(
                [], label="Fields", visible=False, elem_id="fields", elem_classes="ts-plain"
            ),
        )
        self._put(
            "join_code",
            gr.Textbox(
                label="The owner's join code for the application",
                max_lines=1,
                max_length=300,
                visible=False,
                elem_id="join-code",
            ),
        )
        with gr.Row(elem_classes="ts-fields"):
            self._put(
                "purpose",
                gr.Dropdown(
                    purpose_choices(),
                    value=None,
                    label="Purpose",
                    elem_id="purpose",
                    elem_classes="ts-wide",
                ),
            )
            self._put("uses", gr.Number(1, label="How many uses", step=1, elem_id="uses"))
            self._put("period", _dropdown(PERIODS, value="", label="Counted", elem_id="period"))
            self._put(
                "hours",
                _dropdown(list(HOURS.items()), value=24, label="Allowed for", elem_id="hours"),
            )
            self._put("days", gr.Number(30, label="Result kept, days", step=1, elem_id="days"))
        self._put(
            "reason",
            gr.Textbox(
                label="Reason, in words that the owner understands",
                lines=2,
                max_lines=5,
                max_length=2000,
                elem_id="reason",
                elem_classes="ts-plain",
            ),
        )
        with gr.Row(elem_classes="ts-bar"):
            self.try_it = _button("Try it on invented data", elem_id="try", min_width=250)
            self.ask = step_button("Ask the owner", "ask", min_width=170)

    def _statistic(self) -> None:
        kinds = [(words, name) for name, words in STATISTICS.items()]
        self._put(
            "statistic", _dropdown(kinds, value="mean", label="Statistic", elem_id="statistic")
        )
        self._put("column", _dropdown([], label="Of the column", elem_id="column"))
        self._put("day", _dropdown([], label="Months of", visible=False, elem_id="day"))
        self._put("number", gr.Textbox(label="Number", visible=False, elem_id="number"))
        self._put(
            "filter_column",
            _dropdown(
                [("all rows", "")], value="", label="Only rows whose", elem_id="filter-column"
            ),
        )
        self._put(
            "op",
            _dropdown([("is", "==")], value="==", label="Compared", visible=False, elem_id="op"),
        )
        self._put(
            "filter_value",
            gr.Textbox(label="Value", max_length=200, visible=False, elem_id="filter-value"),
        )

    def _requests(self) -> None:
        self._put("requests", html(panels.empty(NO_REQUESTS)))
        with self._put("request_box", gr.Column(visible=False)):
            self._put(
                "request_choice",
                _dropdown([], label="Request", elem_id="request-choice", elem_classes="ts-plain"),
            )
            self._put("told_requests", html("", "ts-quiet"))
            self._put(
                "run", gr.Button("Run", variant="primary", scale=0, min_width=140, elem_id="run")
            )
            self._put("request", html("", "ts-panel"))

    def wire(self, page: gr.Blocks) -> None:
        """Connect the buttons, the timer and the page load to their handlers."""
        do, parts = self.do, self.parts
        wiring, state = Wiring(parts), parts["state"]

        def step(
            where: str, event: Any, handler: Any, name: str, *inputs: str, busy: str | None = None
        ) -> None:
            given = [state, *(parts[each] for each in inputs)]
            wiring.on(event, in_place(where, handler, do.view), given, name, busy=busy)

        wiring.on(page.load, do.view, [state], "arrive")
        wiring.tick(self.timer.tick, do.tick, state)
        step("sessions", self.connect.click, do.connect, "connect", "code", busy="sessions")
        step("sessions", parts["code"].submit, do.connect, "connect_by_enter", "code")
        step("sessions", self.end.click, do.end_session, "end_session", "session_choice")
        searched = ("owner_choice", "search_words", "search_tag")
        step("browse", self.search.click, do.search, "search", *searched, busy="found")
        for name in ("search_words", "search_tag"):
            step("browse", parts[name].submit, do.search, f"{name}_by_enter", *searched)
        formed = ("data_set", "action", "statistic", "filter_column")
        for name in formed[:3]:
            step("ask", parts[name].change, do.form, f"form_{name}", *formed)
        filtered = ("data_set", "filter_column", "op")
        for name in filtered[1:]:
            step("ask", parts[name].input, do.filter_form, f"form_{name}", *filtered)
        tried = ("data_set", "action", "fields", *STATISTIC_FIELDS)
        step("ask", self.try_it.click, do.try_it, "try_it", *tried, busy="mock")
        step("ask", self.ask.click, do.ask, "ask", *inputs_of_ask(), busy="mock")
        step("requests", parts["request_choice"].input, do.choose, "choose", "request_choice")
        step("requests", parts["run"].click, do.run, "run", "request_choice", busy="request")
