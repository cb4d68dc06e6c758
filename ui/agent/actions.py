"""What one party's own page does: each handler acts on the seat and gives the parts anew."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from engines.interface import DECIDE, EXPLAIN
from parties.agent import Agent, ApplicationAgent
from ui.agent import panels as agent_panels
from ui.forms import record_of, shown_record
from ui.plots import blank_figure, explanation_figure
from ui.steps import show_steps
from ui.timeline import own_timeline
from utils.errors import OutOfStep, TrisealError, UnknownApplication

View = list[Any]
Handler = Callable[..., View]
STEPS = ("join", "send", DECIDE, EXPLAIN)
UNEXPECTED = "Something failed that should not have; the agent's log has the details."

log = logging.getLogger(__name__)


@dataclass
class PageApplication:
    """What one browser session shows: an application, as of a serial of its seat.

    `sent` are the fields as they were sent; `refused` says by step why it could not be taken.
    """

    client_id: str = ""
    serial: int = 0
    sent: list[Any] = field(default_factory=list)
    changed: bool = False
    plotted: bool = False
    awaited: bool = False
    settled: bool = False
    refused: dict[str, str] = field(default_factory=dict)


PARTS = 14
"""How many things a view holds: the state, and thirteen components."""


class AgentActions:
    """The handlers of the page of an agent's party.

    Every view is: state, join row, strip, buttons to ask again and to cancel, key, sent, button
    and panel of the decision, button and panel of the explanation, plot, log, holdings.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent, self.party = agent, agent.party
        self.public = agent.connection.public

    def view(self, shown: PageApplication) -> View:
        """Every part as the seat has it."""
        seat, public = self._seat(shown), self.public
        serial = 0 if seat is None else seat.serial  # before the parts: none may be missed
        agreed = {
            program: seat is not None and self.party.name in seat.member.agreed_by(program)
            for program in (DECIDE, EXPLAIN)
        }
        told = {step: agent_panels.refusal(shown.refused.get(step, "")) for step in STEPS}
        view = [
            shown,
            gr.update(visible=seat is None or bool(seat.over)),
            show_steps(agent_panels.agent_steps(seat, public))
            + told["join"]
            + agent_panels.status(seat, public),
            gr.update(visible=seat is not None and agent_panels.stopped_run(seat) is not None),
            gr.update(visible=agent_panels.is_under_way(seat)),
            agent_panels.key_panel(seat, public),
            told["send"] + agent_panels.sent_panel(seat, shown.changed),
            gr.update(visible=not agreed[DECIDE]),
            told[DECIDE] + agent_panels.decision_panel(seat, public),
            gr.update(visible=not agreed[EXPLAIN]),
            told[EXPLAIN] + agent_panels.explanation_panel(seat, public),
            self._plot(shown, seat),
            own_timeline(seat.member.events if seat else (), public, self.party.name),
            agent_panels.holdings_panel(seat),
        ]
        shown.serial, shown.settled = serial, False
        return view

    def nothing(self, shown: PageApplication) -> View:
        """Everything as it is."""
        return [shown, *(gr.skip() for _ in range(PARTS - 1))]

    def in_place(self, step: str, handler: Handler) -> Handler:
        """Let what keeps a person's step from being taken show beside its button."""

        @functools.wraps(handler)
        def guarded(shown: PageApplication, *args: Any, **kwargs: Any) -> View:
            shown.refused.clear()
            try:
                return handler(shown, *args, **kwargs)
            except TrisealError as error:
                shown.refused[step] = error.message
            except Exception:
                log.exception("a step of the page failed")
                shown.refused[step] = UNEXPECTED
            return self.view(shown)

        return guarded

    def arrive(self, shown: PageApplication, request: gr.Request) -> View:
        """The page as it is first shown, on the application of its address or of the process."""
        code = request.query_params.get("join", "")
        try:
            seat = self.agent.join(code) if code else self.agent.first
        except TrisealError as error:
            seat, shown.refused["join"] = None, error.message
        record = None
        if seat is not None:
            shown.client_id = seat.member.client_id
            record = seat.member.record if seat.member.has_sent else None
        values = [gr.skip() for _ in self.party.columns]
        if record is not None:
            values = shown.sent = shown_record(self.party, record)
        return [*self.view(shown), *values]

    def join(self, shown: PageApplication, code: str) -> View:
        """Take part in the application of a pasted code."""
        seat = self.agent.join(code)
        shown.client_id, shown.sent, shown.changed = seat.member.client_id, [], False
        return self.view(shown)

    def tick(self, shown: PageApplication) -> View:
        """What has changed since the last look."""
        seat = self._seat(shown)
        if seat is None:
            return self.nothing(shown)
        seat.look()
        changed = seat.serial != shown.serial
        if not changed and shown.settled:
            return self.nothing(shown)
        view = self.view(shown)
        # Once more after each change: the answer to a press may have come in after a newer one.
        shown.settled = not changed
        return view

    def send(self, shown: PageApplication, *values: Any) -> View:
        """Encrypt this party's record and send it."""
        self._required(shown).send(record_of(self.party, values))
        shown.sent, shown.changed = list(values), False
        return self.view(shown)

    def agree(self, program: str) -> Handler:
        """The handler of an agreement to one program."""

        def agree(shown: PageApplication, *values: Any) -> View:
            seat = self._required(shown)
            self._compare(shown, values)
            if shown.changed and program == DECIDE:
                raise OutOfStep(
                    "The values above are not those that were sent: encrypt and send them, or put "
                    "back what was sent."
                )
            seat.agree(program)
            return self.view(shown)

        return agree

    def try_again(self, shown: PageApplication) -> View:
        """Ask the server once more for what it could not compute."""
        self._required(shown).try_again()
        return self.view(shown)

    def cancel(self, shown: PageApplication) -> View:
        """End the run that waits at the server or is evaluated there."""
        self._required(shown).cancel()
        return self.view(shown)

    def note_changes(self, shown: PageApplication, *values: Any) -> View:
        """Say where the fields are no longer what was sent."""
        before = shown.changed
        self._compare(shown, values)
        return self.view(shown) if shown.changed != before else self.nothing(shown)

    def _compare(self, shown: PageApplication, values: tuple[Any, ...]) -> None:
        shown.changed = bool(shown.sent) and shown.sent != list(values)

    def _seat(self, shown: PageApplication) -> ApplicationAgent | None:
        try:
            return self.agent.seat(shown.client_id) if shown.client_id else None
        except UnknownApplication:
            return None

    def _required(self, shown: PageApplication) -> ApplicationAgent:
        seat = self._seat(shown)
        if seat is None:
            raise OutOfStep("This party takes part in no application yet: give a join code first.")
        return seat

    def _plot(self, shown: PageApplication, seat: ApplicationAgent | None) -> Any:
        opened = seat.member.explanation if seat else None
        if opened is None and shown.plotted:
            shown.plotted = shown.awaited = False
            return gr.Plot(value=None, visible=False)
        if opened is None and seat is not None and seat.member.decision and not shown.awaited:
            # Hidden: the browser loads the plotting library while the decision is read.
            shown.awaited = True
            return gr.Plot(value=blank_figure(), visible="hidden")
        if opened is None or shown.plotted:
            return gr.skip()
        shown.plotted = True
        figure = explanation_figure(opened.explanation, self.public.schema_, narrow=True)
        return gr.Plot(value=figure, visible=True)
