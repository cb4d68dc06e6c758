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
from parties.agent import Agent, ApplicationAgent
from ui.agent import panels as agent_panels
from ui.agent.buttons import AGAIN, AGREE, JOIN, JOIN_FIRST, LEAVE, RESTORE, SEND, button_states
from ui.agent.reasons import reasons_panel
from ui.agent.refusals import Refusal
from ui.agent.saving import Kind, saved_file
from ui.buttons import button_update, notes_html
from ui.error_words import error_words
from ui.forms import record_of, shown_record, values_error
from ui.plot_data import plot_data
from ui.plots import blank_figure, explanation_figure
from ui.steps import show_steps
from ui.ticks import wait_for
from ui.timeline import own_timeline
from utils.errors import (
    FeatureError,
    InvalidRequest,
    OutOfStep,
    TrisealError,
    UnknownApplication,
)

View = list[Any]
Handler = Callable[..., View]
FILE = "file"
STEPS = ("join", "send", DECIDE, EXPLAIN, REASONS, FILE)

log = logging.getLogger(__name__)


@dataclass
class PageApplication:
    """The application that a browser session shows, as of its serial number `serial`.

    `sent` holds the field values as they were sent; `refused` maps each step that could not be
    taken to the reason. `plotted` is the id of the application whose explanation is plotted.
    """

    client_id: str = ""
    serial: int = 0
    sent: list[Any] = field(default_factory=list)
    changed: bool = False
    plotted: str = ""
    awaited: bool = False
    settled: bool = False
    refused: dict[str, Refusal] = field(default_factory=dict)

    def shows(self, client_id: str) -> None:
        """Show another application, or none if `client_id` is empty."""
        self.client_id, self.sent, self.changed, self.awaited = client_id, [], False, False
        self.refused.clear()


PARTS = 23
"""Length of a view: the state and 22 components."""


class AgentActions:
    """The event handlers of one party's page.

    Every view lists, in order: state, join row, strip, retry and cancel buttons, key, sent, button
    and panel of the decision, button and panel of the explanation, plot, button and panel of the
    reasons, log, holdings, buttons of the decision file, of the copies as text and as JSON, of
    joining, sending and leaving, and the notes on the buttons.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent, self.party = agent, agent.party
        self.public = agent.connection.public
        self._layout = agent.connection.layout

    def view(self, shown: PageApplication) -> View:
        """Return every component, rendered from the current application."""
        application, public = self._application(shown), self.public
        serial = (
            0 if application is None else application.serial
        )  # read first, so that no change is missed
        self._drop_moot(shown, application)
        told = {step: shown.refused[step].html if step in shown.refused else "" for step in STEPS}
        buttons = button_states(application, public, shown.changed)
        update = {name: button_update(state) for name, state in buttons.items()}
        decided = gr.update(
            visible=application is not None and application.member.decision is not None
        )
        view = [
            shown,
            gr.update(visible=application is None or bool(application.over)),
            show_steps(agent_panels.agent_steps(application, public))
            + told["join"]
            + agent_panels.status(application, public),
            update[AGAIN],
            gr.update(visible=agent_panels.is_under_way(application)),
            agent_panels.key_panel(application, public),
            told["send"] + agent_panels.sent_panel(application, public, shown.changed),
            update[AGREE[DECIDE]],
            told[DECIDE] + agent_panels.decision_panel(application, public) + told[FILE],
            update[AGREE[EXPLAIN]],
            told[EXPLAIN] + agent_panels.explanation_panel(application, public),
            self._plot(shown, application),
            update[AGREE[REASONS]],
            told[REASONS] + reasons_panel(application, public),
            own_timeline(application.member.events if application else (), public, self.party.name),
            agent_panels.holdings_panel(application),
            decided,
            decided,
            decided,
            update[JOIN],
            update[SEND],
            update[LEAVE],
            notes_html(buttons),
        ]
        shown.serial, shown.settled = serial, False
        return view

    def nothing(self, shown: PageApplication) -> View:
        """Return a view that changes nothing."""
        return [shown, *(gr.skip() for _ in range(PARTS - 1))]

    def _drop_moot(
        self,
        shown: PageApplication,
        application: ApplicationAgent | None,
        values: tuple[Any, ...] | None = None,
    ) -> None:
        """Withdraw refusals whose cause has gone; `values` are the fields now, None if unknown."""
        for step, refusal in list(shown.refused.items()):
            if refusal.of_fields and values is not None:
                error = values_error(self._layout, self.party, values)
                if error is None:
                    del shown.refused[step]
                elif error_words(error, self.public.schema_) != refusal.words:
                    self._refuse(shown, step, error, of_fields=True)
            elif refusal.is_moot(application):
                del shown.refused[step]

    def in_place(self, step: str, handler: Handler) -> Handler:
        """Wrap a handler so that an error is shown next to the button of its step."""

        @functools.wraps(handler)
        def guarded(shown: PageApplication, *args: Any, **kwargs: Any) -> View:
            shown.refused.clear()
            try:
                return handler(shown, *args, **kwargs)
            except Exception as error:
                if not isinstance(error, TrisealError):
                    log.exception("a step of the page failed")
                of_fields = step == "send" and isinstance(error, FeatureError)
                self._refuse(shown, step, error, of_fields)
            return self.view(shown)

        return guarded

    def _refuse(
        self, shown: PageApplication, step: str, error: Exception, of_fields: bool = False
    ) -> None:
        schema, application = self.public.schema_, self._application(shown)
        shown.refused[step] = Refusal.of(error, schema, application, of_fields)

    def arrive(self, shown: PageApplication, request: gr.Request) -> View:
        """Return the first view: the application in the page's address, or the agent's first."""
        code = request.query_params.get("join", "")
        try:
            application = self.agent.join(code) if code else self.agent.first
        except TrisealError as error:
            application = None
            self._refuse(shown, "join", error)
        if application is not None:
            shown.client_id = application.member.client_id
        return [*self.view(shown), *self._fields(shown, application)]

    def join(self, shown: PageApplication, code: str) -> View:
        """Join the application of a pasted join code."""
        shown.shows(self.agent.join(code).member.client_id)
        return self.view(shown)

    def open(self, shown: PageApplication, client_id: str | None) -> View:
        """Show an application of the party's folder; the fields' values follow the view."""
        same = [gr.skip() for _ in self.party.columns]

        def show(shown: PageApplication) -> View:
            if not client_id:
                raise InvalidRequest("Choose an application in the list first.")
            self.agent.open(client_id)
            if client_id != shown.client_id:
                shown.shows(client_id)
            return self.view(shown)

        view = self.in_place("join", show)(shown)
        if shown.client_id != client_id or shown.sent:
            return [*view, *same]
        member = self._required(shown).member
        record = member.record if member.has_sent else None
        shown.sent = [] if record is None else shown_record(self.party, record)
        return [*view, *(shown.sent or same)]

    def leave(self, shown: PageApplication) -> View:
        """Show no application, so that another one can be joined; the one shown stays as it is."""
        shown.shows("")
        return self.view(shown)

    async def tick(self, shown: PageApplication) -> View:
        """Wait for a change of the application, at most `WAIT_SECONDS`; return what changed.

        The fields' values follow the view.
        """
        application = self._application(shown)
        if application is not None:
            application.look()
        if not await wait_for(lambda: self._news(shown)):
            return [*self.nothing(shown), *(gr.skip() for _ in self.party.columns)]
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
        return [*view, *self._fields(shown, application)]

    def _fields(self, shown: PageApplication, application: ApplicationAgent | None) -> list[Any]:
        """Return the record if it was not sent from this page, else values that change nothing."""
        record = None
        if not shown.sent and application is not None and application.member.has_sent:
            record = application.member.record
        if record is None:
            return [gr.skip() for _ in self.party.columns]
        shown.sent = shown_record(self.party, record)
        return shown.sent

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
                raise OutOfStep(RESTORE)
            application.agree(program)
            return self.view(shown)

        return agree

    def decision_file(self, shown: PageApplication) -> View:
        """Fetch and check the decision file; return the view, and the file to download, if any."""

        def fetch(shown: PageApplication) -> Path:
            found = self._required(shown).member.decision_file(DECIDE)
            # Inside Gradio's own folder, which is removed when the page stops.
            folder = mkdtemp(prefix="decision-", dir=os.environ.get("GRADIO_TEMP_DIR"))
            path = Path(folder) / f"decision-{shown.client_id[:8]}.json"
            path.write_bytes(found.file.to_bytes())
            return path

        return self._download(shown, fetch)

    def save(self, kind: Kind) -> Handler:
        """Return the handler that saves the opened results as a file of this kind."""

        def save(shown: PageApplication) -> View:
            return self._download(
                shown, lambda one: saved_file(self._required(one), self.public.schema_, kind)
            )

        return save

    def _download(self, shown: PageApplication, make: Callable[[PageApplication], Path]) -> View:
        """Return the view, and the file that `make` returns, if it does."""
        made: list[str] = []

        def show(shown: PageApplication) -> View:
            made.append(str(make(shown)))
            return self.view(shown)

        view = self.in_place(FILE, show)(shown)
        return [*view, gr.DownloadButton(value=made[0] if made else None)]

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

        Also if the fields' values were refused, and are accepted now or refused for another reason.
        """
        before = shown.changed, dict(shown.refused)
        self._compare(shown, values)
        self._drop_moot(shown, self._application(shown), values)
        after = shown.changed, shown.refused
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
            raise OutOfStep(JOIN_FIRST)
        return application

    def _plot(self, shown: PageApplication, application: ApplicationAgent | None) -> Any:
        opened = application.member.explanation if application else None
        if opened is None and shown.plotted:
            shown.plotted, shown.awaited = "", False
            return gr.Plot(value=None, visible=False)
        if (
            opened is None
            and application is not None
            and application.member.decision
            and not shown.awaited
        ):
            # Hidden, so that the browser loads the plotting library while the decision is read.
            shown.awaited = True
            return gr.Plot(value=plot_data(blank_figure()), visible="hidden")
        if opened is None or shown.plotted == shown.client_id:
            return gr.skip()
        shown.plotted = shown.client_id
        signs = self.public.opens_sign(EXPLAIN)
        figure = explanation_figure(opened.explanation, self.public.schema_, signs, narrow=True)
        return gr.Plot(value=plot_data(figure), visible=True)
