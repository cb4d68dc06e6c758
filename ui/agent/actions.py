"""The handlers of one party's page: each acts on the application and returns the updated view."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import gradio as gr
from anyio import to_thread

from engines.interface import DECIDE, EXPLAIN, REASONS
from features.encoding import Layout
from parties.agent import Agent, ApplicationAgent
from ui.agent import panels as agent_panels
from ui.agent.reasons import reasons_button, reasons_panel
from ui.forms import contradiction_of, contradiction_panel, record_of, shown_record
from ui.plots import blank_figure, explanation_figure
from ui.steps import show_steps
from ui.ticks import wait_for
from ui.timeline import own_timeline
from utils.errors import OutOfStep, RecordContradictory, TrisealError, UnknownApplication

View = list[Any]
Handler = Callable[..., View]
FILE = "file"
STEPS = ("join", "send", DECIDE, EXPLAIN, REASONS, FILE)
UNEXPECTED = "Something went wrong. The log of this party's agent has the details."

log = logging.getLogger(__name__)


@dataclass
class PageApplication:
    """The application that a browser session shows, as of its serial number `serial`.

    `sent` holds the field values as they were sent; `refused` maps each step that could not be
    taken to the reason. `contradiction` is the refusal of values that break a
    rule of the schema.
    """

    client_id: str = ""
    serial: int = 0
    sent: list[Any] = field(default_factory=list)
    changed: bool = False
    plotted: bool = False
    awaited: bool = False
    settled: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    contradiction: RecordContradictory | None = None


PARTS = 17
"""Length of a view: the state and sixteen components."""


class AgentActions:
    """The event handlers of one party's page.

    Every view lists, in order: state, join row, strip, retry and cancel buttons, key, sent, button
    and panel of the decision, button and panel of the explanation, plot, button and panel of the
    reasons, log, holdings, button of the decision file.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent, self.party = agent, agent.party
        self.public = agent.connection.public
        self._layout = Layout(self.public.schema_)

    def view(self, shown: PageApplication) -> View:
        """Return every component, rendered from the current application."""
        application, public = self._application(shown), self.public
        serial = (
            0 if application is None else application.serial
        )  # read first, so that no change is missed
        agreed = {
            program: application is not None
            and self.party.name in application.member.agreed_by(program)
            for program in (DECIDE, EXPLAIN)
        }
        told = {step: agent_panels.refusal(shown.refused.get(step, "")) for step in STEPS}
        view = [
            shown,
            gr.update(visible=application is None or bool(application.over)),
            show_steps(agent_panels.agent_steps(application, public))
            + told["join"]
            + agent_panels.status(application, public),
            gr.update(
                visible=application is not None
                and agent_panels.stopped_run(application) is not None
            ),
            gr.update(visible=agent_panels.is_under_way(application)),
            agent_panels.key_panel(application, public),
            told["send"]
            + contradiction_panel(shown.contradiction)
            + agent_panels.sent_panel(application, public, shown.changed),
            gr.update(visible=not agreed[DECIDE]),
            told[DECIDE] + agent_panels.decision_panel(application, public) + told[FILE],
            gr.update(visible=not agreed[EXPLAIN]),
            told[EXPLAIN] + agent_panels.explanation_panel(application, public),
            self._plot(shown, application),
            reasons_button(application, public),
            told[REASONS] + reasons_panel(application, public),
            own_timeline(application.member.events if application else (), public, self.party.name),
            agent_panels.holdings_panel(application),
            gr.update(visible=application is not None and application.member.decision is not None),
        ]
        shown.serial, shown.settled = serial, False
        return view

    def nothing(self, shown: PageApplication) -> View:
        """Return a view that changes nothing."""
        return [shown, *(gr.skip() for _ in range(PARTS - 1))]

    def in_place(self, step: str, handler: Handler) -> Handler:
        """Wrap a handler so that an error is shown next to the button of its step."""

        @functools.wraps(handler)
        def guarded(shown: PageApplication, *args: Any, **kwargs: Any) -> View:
            shown.refused.clear()
            shown.contradiction = None
            try:
                return handler(shown, *args, **kwargs)
            except RecordContradictory as error:
                shown.contradiction = error
            except TrisealError as error:
                shown.refused[step] = error.message
            except Exception:
                log.exception("a step of the page failed")
                shown.refused[step] = UNEXPECTED
            return self.view(shown)

        return guarded

    def arrive(self, shown: PageApplication, request: gr.Request) -> View:
        """Return the first view: the application in the page's address, or the agent's first."""
        code = request.query_params.get("join", "")
        try:
            application = self.agent.join(code) if code else self.agent.first
        except TrisealError as error:
            application, shown.refused["join"] = None, error.message
        record = None
        if application is not None:
            shown.client_id = application.member.client_id
            record = application.member.record if application.member.has_sent else None
        values = [gr.skip() for _ in self.party.columns]
        if record is not None:
            values = shown.sent = shown_record(self.party, record)
        return [*self.view(shown), *values]

    def join(self, shown: PageApplication, code: str) -> View:
        """Join the application of a pasted join code."""
        application = self.agent.join(code)
        shown.client_id, shown.sent, shown.changed = application.member.client_id, [], False
        return self.view(shown)

    async def tick(self, shown: PageApplication) -> View:
        """Wait for a change of the application, at most `WAIT_SECONDS`; return what changed."""
        application = self._application(shown)
        if application is not None:
            application.look()
        if not await wait_for(lambda: self._news(shown)):
            return self.nothing(shown)
        return await to_thread.run_sync(self._again, shown)

    def _news(self, shown: PageApplication) -> bool:
        application = self._application(shown)
        return application is not None and not (
            shown.settled and application.serial == shown.serial
        )

    def _again(self, shown: PageApplication) -> View:
        application = self._application(shown)
        changed = application is not None and application.serial != shown.serial
        view = self.view(shown)
        # Render once more after a change: the result of a click may arrive after a newer view.
        shown.settled = not changed
        return view

    def send(self, shown: PageApplication, *values: Any) -> View:
        """Encrypt this party's record and send it."""
        self._required(shown).send(record_of(self.party, values))
        shown.sent, shown.changed = list(values), False
        return self.view(shown)

    def agree(self, program: str) -> Handler:
        """Return the handler of the button that agrees to `program`."""

        def agree(shown: PageApplication, *values: Any) -> View:
            application = self._required(shown)
            self._compare(shown, values)
            if shown.changed and program == DECIDE:
                raise OutOfStep(
                    "The values above have changed since they were sent, and what was sent is "
                    "fixed. Restore the values that were sent, or open a new application."
                )
            application.agree(program)
            return self.view(shown)

        return agree

    def decision_file(self, shown: PageApplication) -> View:
        """Fetch and check the decision file; return the view, and the file to download, if any."""
        fetched: list[str] = []

        def fetch(shown: PageApplication) -> View:
            found = self._required(shown).member.decision_file(DECIDE)
            # Inside Gradio's own folder, which is removed when the page stops.
            folder = mkdtemp(prefix="decision-", dir=os.environ.get("GRADIO_TEMP_DIR"))
            path = Path(folder) / f"decision-{shown.client_id[:8]}.json"
            path.write_bytes(found.file.to_bytes())
            fetched.append(str(path))
            return self.view(shown)

        view = self.in_place(FILE, fetch)(shown)
        return [*view, gr.DownloadButton(value=fetched[0] if fetched else None)]

    def try_again(self, shown: PageApplication) -> View:
        """Ask the server again to compute what failed or was cancelled."""
        self._required(shown).try_again()
        return self.view(shown)

    def cancel(self, shown: PageApplication) -> View:
        """Cancel the run that is queued or running on the server."""
        self._required(shown).cancel()
        return self.view(shown)

    def note_changes(self, shown: PageApplication, *values: Any) -> View:
        """Update the view if the fields now differ from what was sent, or no longer do.

        Also if a contradiction between fields, because of which they were not sent, is resolved.
        """
        before = shown.changed, _message(shown.contradiction)
        self._compare(shown, values)
        if shown.contradiction is not None:
            shown.contradiction = contradiction_of(self._layout, self.party, values)
        after = shown.changed, _message(shown.contradiction)
        return self.view(shown) if after != before else self.nothing(shown)

    def _compare(self, shown: PageApplication, values: tuple[Any, ...]) -> None:
        shown.changed = bool(shown.sent) and shown.sent != list(values)

    def _application(self, shown: PageApplication) -> ApplicationAgent | None:
        try:
            return self.agent.application(shown.client_id) if shown.client_id else None
        except UnknownApplication:
            return None

    def shown(self, shown: PageApplication) -> ApplicationAgent | None:
        """Return the application that a browser session shows, or None."""
        return self._application(shown)

    def _required(self, shown: PageApplication) -> ApplicationAgent:
        application = self._application(shown)
        if application is None:
            raise OutOfStep(
                "This party has not joined an application yet. Enter a join code first."
            )
        return application

    def _plot(self, shown: PageApplication, application: ApplicationAgent | None) -> Any:
        opened = application.member.explanation if application else None
        if opened is None and shown.plotted:
            shown.plotted = shown.awaited = False
            return gr.Plot(value=None, visible=False)
        if (
            opened is None
            and application is not None
            and application.member.decision
            and not shown.awaited
        ):
            # Hidden, so that the browser loads the plotting library while the decision is read.
            shown.awaited = True
            return gr.Plot(value=blank_figure(), visible="hidden")
        if opened is None or shown.plotted:
            return gr.skip()
        shown.plotted = True
        signs = self.public.opens_sign(EXPLAIN)
        figure = explanation_figure(opened.explanation, self.public.schema_, signs, narrow=True)
        return gr.Plot(value=figure, visible=True)


def _message(error: RecordContradictory | None) -> str:
    return "" if error is None else error.message
