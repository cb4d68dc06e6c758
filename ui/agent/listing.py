"""The section of a party's page with the applications in the party's folder."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from engines.interface import PublicModel
from parties.agent import Agent
from parties.joint.listing import ListedApplication
from ui.blocks import html as html_block

_html = partial(html_block, min_width=250)
NONE = "No applications yet. An application that this party joins is listed here until it expires."
STAGES = {
    "joined": "joined; the joint key is not made yet",
    "key": "joint key under way; the record is not sent yet",
    "sent": "record sent; not agreed to open the decision yet",
    "agreed": "agreed to open the decision",
    "answered": "done; others learn the answer",
    "ended": "ended",
    "damaged": "its files on this machine are damaged",
}


class ApplicationList:
    """The list, and the button that opens an application; created inside `gr.Blocks`."""

    def __init__(self, agent: Agent) -> None:
        self._agent, self._public = agent, agent.connection.public
        self.empty = _html(f'<p class="ts-empty">{NONE}</p>')
        self.chosen = gr.Radio(
            [], label="Choose one to open", visible=False, elem_id="applications"
        )
        with gr.Row():
            self.button = gr.Button(
                "Open", size="sm", visible=False, min_width=90, elem_id="open-application"
            )
            self.leave = gr.Button(
                "Leave this application",
                size="sm",
                visible=False,
                min_width=170,
                elem_id="leave",
            )

    @property
    def outputs(self) -> list[Any]:
        """The components that `view` updates."""
        return [self.empty, self.chosen, self.button]

    def view(self, client_id: str) -> list[Any]:
        """Return the list as it is now; `client_id` is the application that is shown."""
        found = self._agent.listed()
        choices = [(listed_words(one, self._public), one.client_id) for one in found]
        value = client_id if any(client_id == one.client_id for one in found) else None
        return [
            gr.update(visible=not found),
            gr.update(choices=choices, value=value, visible=bool(found)),
            gr.update(visible=bool(found)),
        ]


def listed_words(one: ListedApplication, public: PublicModel) -> str:
    """Return an application in one line: the begin of its id, when it was joined, and its state."""
    when = "" if one.joined is None else f", joined {one.joined:%Y-%m-%d %H:%M} UTC"
    return f"{one.client_id[:8]}{when}: {_state(one, public)}"


def _state(one: ListedApplication, public: PublicModel) -> str:
    if one.approved is None:
        return STAGES[one.stage]
    words = public.schema_.decision
    parts = [words.approved if one.approved else words.denied]
    parts += ["explained"] if one.explained else []
    parts += ["reasons opened"] if one.reasoned else []
    return ", ".join(parts)
