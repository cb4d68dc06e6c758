"""A data owner's page: sessions, own data, the inbox, approvals, and what was used when.

A timer keeps it up to date with the owner's agent (parties/governance/owner.py) in this process.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from governance.categories import OWN_DATA, UNCLASSIFIED
from parties.governance.owner import Owner
from ui.blocks import folded, html, section, step_button
from ui.consent import panels
from ui.consent.handling import Wiring, in_place
from ui.owner.actions import LONGEST_PASTE, OwnerActions, Shown
from ui.owner.drafts import MOST_SHOWN_COLUMNS, category_choices, schema_choices
from ui.owner.panels import NO_APPROVAL, NO_REQUEST_YET, WHAT, draft_panel
from ui.panels import heading
from ui.ticks import TICK_SECONDS

HOURS = {"1 hour": 1, "1 day": 24, "7 days": 7 * 24, "30 days": 30 * 24}

_button = partial(gr.Button, scale=0, min_width=120)


def build_owner_page(owner: Owner, deployment: Path) -> gr.Blocks:
    """Build the page of an owner's agent; `deployment` has the schema of the sample record."""
    with gr.Blocks(title=f"Triseal: {owner.name}", analytics_enabled=False) as page:
        _OwnerPage(owner, deployment).wire(page)
    return page


class _OwnerPage:
    """The components by name, and their handlers, created from top to bottom."""

    def __init__(self, owner: Owner, deployment: Path) -> None:
        self.do = OwnerActions(owner, deployment)
        self.parts: dict[str, Component] = {"state": gr.State(Shown())}
        self.timer = gr.Timer(TICK_SECONDS)
        html(panels.introduction(owner.name, owner.key, WHAT, "The institution"))
        with section():
            html(heading(None, "Inbox", "One decision at a time; nothing is used without it."))
            self._inbox()
        with section():
            html(heading(None, "Sessions", "An institution connects with a code that you give it."))
            self._sessions()
        with section():
            html(
                heading(None, "My data", "Encrypted on this machine; others see descriptions only.")
            )
            self._data()
        with section():
            html(
                heading(
                    None,
                    "Your answers",
                    "What you have approved can be paused or revoked at once.",
                )
            )
            self._running()
        with section():
            html(heading(None, "What was used when, and by whom"))
            self._put("activity", html(""))

    def _put(self, name: str, part: Any) -> Any:
        self.parts[name] = part
        return part

    def _inbox(self) -> None:
        self._put("inbox", html(panels.empty(NO_REQUEST_YET)))
        # In the browser, so that a button names the request that was shown when it was pressed.
        self._put("inbox_id", gr.Textbox(visible="hidden", elem_id="inbox-id"))
        with gr.Row():
            self._put("previous", _button("Previous", visible=False, elem_id="previous"))
            self._put("next", _button("Next", visible=False, elem_id="next"))
        self._put("told_inbox", html("", "ts-quiet"))
        with self._put("inbox_row", gr.Column(visible=False)):
            self.approve = step_button("Approve", "approve", min_width=180)
            with folded("Approve with less"):
                self._put("less_note", html(""))
                self._put(
                    "less_fields",
                    gr.CheckboxGroup(
                        [],
                        label="Fields",
                        elem_id="less-fields",
                        elem_classes="ts-plain",
                        min_width=200,
                    ),
                )
                with gr.Row(elem_classes="ts-fields"):
                    self._put("less_uses", gr.Number(1, label="Uses", step=1, elem_id="less-uses"))
                    self._put(
                        "less_end",
                        gr.Dropdown(
                            [("as asked", 0)],
                            value=0,
                            label="Until",
                            elem_id="less-end",
                            elem_classes="ts-wide",
                            filterable=False,
                        ),
                    )
                self.less = _button("Approve this much", elem_id="approve-less", min_width=180)
            with gr.Row(elem_classes="ts-bar ts-ends"):
                self._put(
                    "reason",
                    gr.Textbox(
                        label="Reason of a denial",
                        placeholder="the institution is told this",
                        max_lines=2,
                        max_length=500,
                        elem_id="deny-reason",
                        min_width=220,
                    ),
                )
                self.deny = gr.Button(
                    "Deny", variant="stop", scale=0, min_width=120, elem_id="deny"
                )

    def _sessions(self) -> None:
        self._put("told_sessions", html("", "ts-quiet"))
        with gr.Row(elem_classes="ts-bar ts-ends"):
            self._put(
                "title",
                gr.Textbox(
                    label="Who is it for?",
                    placeholder="a name for your list",
                    max_lines=1,
                    max_length=100,
                    elem_id="session-title",
                    min_width=180,
                ),
            )
            self.hours = gr.Dropdown(
                list(HOURS.items()),
                value=24,
                label="Open for",
                elem_id="session-hours",
                filterable=False,
                min_width=120,
            )
            self.host = step_button("Host a session", "host", min_width=180)
        with self._put("code_row", gr.Column(visible=False, elem_classes="ts-code")):
            self._put("code_note", html(""))
            self._put(
                "code",
                gr.Textbox(
                    label="Code",
                    interactive=False,
                    max_lines=6,
                    buttons=["copy"],
                    elem_id="session-code",
                ),
            )
            self.hide = _button("Hide the code", size="sm", elem_id="hide-code")
        self._put("sessions", html(""))
        with self._put("end_row", gr.Row(visible=False, elem_classes="ts-bar ts-ends")):
            self._put(
                "session_choice",
                gr.Dropdown(
                    [], label="Session", elem_id="session-choice", filterable=False, min_width=220
                ),
            )
            self.end = _button("End the session", elem_id="end-session", min_width=190)

    def _data(self) -> None:
        self._put("told_data", html("", "ts-quiet"))
        with self._put("sample_row", gr.Column(visible=False)):
            html(
                '<p class="ts-note">To try the page: invented utility bills, a personal record, '
                "and an applicant's record.</p>"
            )
            with gr.Row(elem_classes="ts-bar"):
                self.use_samples = _button("Use sample data", elem_id="use-samples", min_width=210)
        self._put("data_sets", html(""))
        with self._put("chosen_row", gr.Row(visible=False, elem_classes="ts-bar ts-ends")):
            self._put(
                "data_choice",
                gr.Dropdown(
                    [],
                    label="Data set to preview or remove",
                    elem_id="data-choice",
                    filterable=False,
                    min_width=220,
                ),
            )
            self.remove = _button("Remove…", elem_id="remove", min_width=120)
        with self._put("confirm_row", gr.Row(visible=False, elem_classes="ts-bar")):
            self._put("confirm", html(""))
            self.really = gr.Button(
                "Remove for good", variant="stop", scale=0, min_width=160, elem_id="remove-really"
            )
            self.keep = _button("Keep it", elem_id="keep")
        self._put("mock", html(""))
        with gr.Accordion("Add data", open=False, elem_classes="ts-folded", elem_id="add-data"):
            self._adding()
            self._put("told_adding", html("", "ts-quiet"))

    def _adding(self) -> None:
        with gr.Row(elem_classes="ts-bar ts-ends"):
            self.upload = gr.UploadButton(
                "Choose a CSV or JSON file",
                file_types=[".csv", ".json"],
                type="filepath",
                scale=0,
                min_width=280,
                elem_id="upload",
            )
        self._put(
            "paste",
            gr.Textbox(
                label="Or paste JSON",
                placeholder='[{"month": "2027-03-01", "amount": 51.20}]',
                lines=3,
                max_lines=8,
                max_length=LONGEST_PASTE,
                elem_id="paste",
                elem_classes="ts-plain",
            ),
        )
        self.read = _button("Read it", elem_id="read-paste")
        self._put("draft", html(draft_panel(None)))
        with self._put("draft_box", gr.Column(visible=False)):
            with gr.Row(elem_classes="ts-bar ts-ends"):
                self._put(
                    "tag",
                    gr.Textbox(
                        label="Tag",
                        info="lower case letters, digits, - and _",
                        max_lines=1,
                        max_length=40,
                        elem_id="tag",
                        min_width=160,
                    ),
                )
                self._put(
                    "words",
                    gr.Textbox(
                        label="Description",
                        info="those who are connected see it: no values",
                        max_lines=2,
                        max_length=500,
                        elem_id="words",
                        min_width=220,
                    ),
                )
                self._put(
                    "schema",
                    gr.Dropdown(
                        schema_choices(),
                        value=OWN_DATA,
                        label="Kind of data",
                        info="the policy knows the fields of some kinds",
                        elem_id="schema",
                        filterable=False,
                        min_width=200,
                    ),
                )
            with gr.Row(elem_classes="ts-fields"):
                self.categories = [
                    self._put(
                        f"category_{i}",
                        gr.Dropdown(
                            category_choices(),
                            value=UNCLASSIFIED,
                            label=f"Column {i + 1}",
                            visible=False,
                            elem_id=f"category-{i}",
                        ),
                    )
                    for i in range(MOST_SHOWN_COLUMNS)
                ]
            with gr.Row():
                self.store = step_button("Store it", "store", min_width=160)
                self.drop = _button("Forget it", elem_id="drop")

    def _running(self) -> None:
        self._put("running", html(panels.empty(NO_APPROVAL)))
        with self._put("running_box", gr.Column(visible=False)):
            self._put(
                "running_choice",
                gr.Dropdown(
                    [],
                    label="Request",
                    elem_id="running-choice",
                    elem_classes="ts-plain",
                    filterable=False,
                ),
            )
            self._put("approval", html("", "ts-panel"))
            self._put("told_running", html("", "ts-quiet"))
            with gr.Row(elem_classes="ts-bar ts-ends"):
                self._put("pause", _button("Pause", visible=False, elem_id="pause"))
                self._put("resume", _button("Resume", visible=False, elem_id="resume"))
                self._put(
                    "revoke_reason",
                    gr.Textbox(
                        label="Reason of a revocation, if you like",
                        max_lines=1,
                        max_length=500,
                        visible=False,
                        elem_id="revoke-reason",
                        min_width=200,
                    ),
                )
                self._put(
                    "revoke",
                    gr.Button(
                        "Revoke",
                        variant="stop",
                        visible=False,
                        scale=0,
                        min_width=120,
                        elem_id="revoke",
                    ),
                )

    def wire(self, page: gr.Blocks) -> None:
        """Connect the buttons, the timer and the page load to their handlers."""
        do, parts = self.do, self.parts
        wiring, state = Wiring(parts), parts["state"]

        def step(
            where: str,
            event: Any,
            handler: Any,
            name: str,
            *inputs: str | Component,
            busy: str | None = None,
        ) -> None:
            given = [parts[each] if isinstance(each, str) else each for each in inputs]
            guarded = in_place(where, handler, do.view)
            wiring.on(event, guarded, [state, *given], name, busy=busy)

        wiring.on(page.load, do.view, [state], "arrive")
        wiring.tick(self.timer.tick, do.tick, state)
        step("sessions", self.host.click, do.host, "host", "title", self.hours, busy="sessions")
        step("sessions", self.hide.click, do.hide_code, "hide_code")
        step("sessions", self.end.click, do.end_session, "end_session", "session_choice")
        step("data", self.use_samples.click, do.use_samples, "use_samples", busy="data_sets")
        step("adding", self.upload.upload, do.read_file, "read_file", self.upload)
        step("adding", self.read.click, do.read_text, "read_text", "paste")
        stored = ("tag", "words", "schema", *self.categories)
        step("adding", self.store.click, do.store, "store", *stored, busy="draft")
        step("adding", self.drop.click, do.drop_draft, "drop_draft")
        step("data", parts["data_choice"].input, do.show_mock, "show_mock", "data_choice")
        step("data", self.remove.click, do.ask_removal, "ask_removal", "data_choice")
        step("data", self.really.click, do.remove, "remove")
        step("data", self.keep.click, do.keep, "keep")
        step("inbox", self.approve.click, do.approve, "approve", "inbox_id", busy="inbox")
        less = ("inbox_id", "less_fields", "less_uses", "less_end")
        step("inbox", self.less.click, do.approve_less, "approve_less", *less, busy="inbox")
        step("inbox", self.deny.click, do.deny, "deny", "inbox_id", "reason", busy="inbox")
        for name, by in (("previous", -1), ("next", 1)):
            step("inbox", parts[name].click, partial(_stepped, do, by), name, "inbox_id")
        step("running", parts["running_choice"].input, do.choose, "choose", "running_choice")
        step("running", parts["pause"].click, do.pause, "pause", "running_choice")
        step("running", parts["resume"].click, do.resume, "resume", "running_choice")
        revoked = ("running_choice", "revoke_reason")
        step("running", parts["revoke"].click, do.revoke, "revoke", *revoked)


def _stepped(do: OwnerActions, by: int, shown: Shown, request_id: str) -> dict[str, Any]:
    return do.step_inbox(shown, request_id, by)
