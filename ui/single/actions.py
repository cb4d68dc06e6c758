"""The handlers of the page's buttons: each changes the state and returns the updated panels.

Every handler is a generator, so that consecutive steps show as they happen. An error is shown next
to the button of its step.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import gradio as gr

import backend
from engines.interface import DECIDE, EXPLAIN, REASONS, PublicModel
from features.encoding import Layout
from features.schema import Party
from parties.run_follower import RunNews, Tell
from ui import panels
from ui.buttons import button_update, notes_html
from ui.error_words import UNEXPECTED, UNEXPECTED_DETAIL, ErrorWords, error_words
from ui.following import followed
from ui.forms import record_of, values_error
from ui.plot_data import plot_data
from ui.plots import explanation_figure
from ui.reasons import has_reasons
from ui.single.buttons import (
    EXPLAIN_STEP,
    KEYS,
    OPEN,
    REASONS_STEP,
    RUN,
    button_states,
)
from ui.state import PageState
from ui.timeline import timeline
from ui.units import join_words
from utils.errors import DeploymentMixed, FeatureError, OutOfStep, RunCancelled, TrisealError

View = list[Any]
Handler = Callable[..., Iterator[Any]]
T = TypeVar("T")

log = logging.getLogger(__name__)


def shown_at_once(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Show errors on the page, for a handler that returns a single view.

    At the end of a generator Gradio sends the last view again, which may overwrite the update of
    another event; a plain function has no such second update.
    """

    @functools.wraps(handler)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise _as_gradio(error) from error

    @functools.wraps(handler)
    async def guarded_async(*args: Any, **kwargs: Any) -> Any:
        try:
            return await handler(*args, **kwargs)
        except Exception as error:
            raise _as_gradio(error) from error

    return guarded_async if inspect.iscoroutinefunction(handler) else guarded


def _as_gradio(error: Exception) -> gr.Error:
    """Return an error of a handler that shows none itself, as a pop-up in general words."""
    log.error("a step of the page failed", exc_info=error)
    return gr.Error(UNEXPECTED, print_exception=False)


def discard(state: PageState) -> None:
    """Erase the application of a browser session that has ended."""
    if state.client_id:
        backend.discard_application(state.client_id)


class Actions:
    """The handlers for one public model. `values` are the values of all fields, party by party.

    Every view lists, in order: state, strip, keys, one panel per party, run, decision,
    explanation, plot, log, reasons, the cancel buttons of the decision, of the explanation and of
    the reasons, the timer of `look_again`, the notes on the buttons, and the buttons of
    `self.buttons`.
    """

    def __init__(self, public: PublicModel) -> None:
        self.public = public
        self.parties = public.schema_.parties
        self._layout = Layout(public.schema_)
        self.buttons = tuple(button_states(PageState(), public))
        """The `elem_id` of every button with a state, in the order of a view."""

    def in_place(self, handler: Handler) -> Handler:
        """Wrap a handler so that an error is shown next to the button of its step."""

        @functools.wraps(handler)
        def guarded(state: PageState, *values: Any) -> Iterator[View]:
            state.refused.clear()
            state.refused_fields.clear()
            try:
                yield from handler(state, *values)
                return
            except TrisealError as error:
                if isinstance(error, FeatureError):
                    state.refused_fields.add(state.step)
                words = error_words(error, self.public.schema_)
            except Exception:
                log.exception("a step of the page failed")
                words = ErrorWords(UNEXPECTED, UNEXPECTED_DETAIL)
            state.refused[state.step] = words
            yield self.view(state, gr.skip())

        return guarded

    def view(self, state: PageState, plot: Any = None) -> View:
        """Return all panels, rendered from the state; `plot` replaces the plot if given."""
        public = self.public
        state.drawn.clear()
        return [
            state,
            panels.strip(state, public),
            panels.refusal(state, KEYS) + panels.keys_panel(state, public),
            *(panels.refusal(state, p.name) + panels.party_panel(state, p) for p in self.parties),
            panels.refusal(state, RUN) + panels.run_panel(state, public),
            panels.refusal(state, OPEN) + panels.decision_panel(state, public),
            panels.refusal(state, EXPLAIN_STEP) + panels.explanation_panel(state, public),
            self._plot(state) if plot is None else plot,
            timeline(state.messages, public),
            panels.refusal(state, REASONS_STEP) + panels.reasons_panel(state, public),
            *self._cancels(state),
            gr.update(active=any(words.temporary for words in state.refused.values())),
            *self._buttons(state),
        ]

    def look_again(self, state: PageState) -> View:
        """Drop the refusals because of the server once it can be reached again."""
        try:
            backend.connection().client.model()
        except TrisealError:
            return self._nothing(state)
        refused = state.refused.items()
        state.refused = {step: words for step, words in refused if not words.temporary}
        return self.view(state, gr.skip())

    def _buttons(self, state: PageState) -> View:
        found = button_states(state, self.public)
        return [notes_html(found), *(button_update(found[name]) for name in self.buttons)]

    def _cancels(self, state: PageState) -> View:
        running = "" if state.news is None else state.news.program
        return [gr.update(visible=running == program) for program in (DECIDE, EXPLAIN, REASONS)]

    def _plot(self, state: PageState) -> Any:
        if state.explained is None:
            return gr.Plot(value=None, visible=False)
        signs = self.public.opens_sign(EXPLAIN)
        figure = explanation_figure(state.explained.explanation, self.public.schema_, signs)
        return gr.Plot(value=plot_data(figure), visible=True)

    def note_changes(self, state: PageState, *values: Any) -> Iterator[View]:
        """Mark the parties whose fields differ from what they sent."""
        before = set(state.changed), dict(state.refused)
        self._compare(state, values)
        for party in self.parties:
            if party.name in state.refused_fields:
                self._check_again(state, party, self._of(party, values))
        after = set(state.changed), state.refused
        yield self.view(state, gr.skip()) if after != before else self._nothing(state)

    def _check_again(self, state: PageState, party: Party, own: list[Any]) -> None:
        """Withdraw or update the refusal of a party's field values."""
        error = values_error(self._layout, party, own)
        if error is None:
            state.refused_fields.discard(party.name)
            state.refused.pop(party.name, None)
        else:
            state.refused[party.name] = error_words(error, self.public.schema_)

    def make_keys(self, state: PageState) -> Iterator[View]:
        """Step 1: make the keys."""
        self._make_keys(state)
        yield self.view(state)

    def sender(self, party: Party) -> Handler:
        """Return the handler of step 2 for one party: encrypt and send."""

        def send(state: PageState, *values: Any) -> Iterator[View]:
            self._send(state, party, values)
            self._compare(state, values)
            yield self.view(state)

        return send

    def send_all(self, state: PageState, *values: Any) -> Iterator[View]:
        """Step 2 for every party with unsent values or, if there is none, for all."""
        self._compare(state, values)
        for party in self._pending(state) or self.parties:
            self._send(state, party, values)
            self._compare(state, values)
            yield self.view(state)

    def run(self, state: PageState, *values: Any) -> Iterator[View]:
        """Step 3: run the model on the server."""
        state.step = RUN
        self._compare(state, values)
        self._refuse_changed(state)
        ran = yield from self._followed(
            state, DECIDE, lambda news: backend.run_fhe(state.client_id, news=news)
        )
        if ran is not None:
            state.ran(ran)
        yield self.view(state)

    def cancel(self, state: PageState) -> None:
        """Cancel the current run; the handler that started it shows the outcome."""
        if not state.asked:
            return
        # If the server has not accepted the run, there is nothing to cancel: only the wait ends.
        state.stopping = state.news is not None and state.news.status == "waiting"
        backend.cancel_run(state.client_id, state.asked)
        state.stopping = True

    def open_decision(self, state: PageState) -> Iterator[View]:
        """Step 4: open the decision."""
        state.step = OPEN
        state.opened(backend.get_output_and_decrypt(state.client_id))
        yield self.view(state, gr.skip())

    def explain(self, state: PageState, *values: Any) -> Iterator[View]:
        """Step 5: explain the decision."""
        state.step = EXPLAIN_STEP
        self._compare(state, values)
        self._refuse_changed(state)
        explained = yield from self._followed(
            state,
            EXPLAIN,
            lambda news: backend.explain_encrypt_run_decrypt(state.client_id, news=news),
        )
        if explained is not None:
            state.explains(explained)
        yield self.view(state)

    def reasons(self, state: PageState, *values: Any) -> Iterator[View]:
        """Step 6: state the reasons for a denial."""
        state.step = REASONS_STEP
        self._compare(state, values)
        self._refuse_changed(state)
        stated = yield from self._followed(
            state, REASONS, lambda news: backend.state_reasons(state.client_id, news=news)
        )
        if stated is not None:
            state.states(stated)
        yield self.view(state, gr.skip())

    def all_steps(self, state: PageState, *values: Any) -> Iterator[View]:
        """Do the remaining steps in order, unless a run is cancelled."""
        if state.client_id is None:
            self._make_keys(state)
            yield self.view(state)
        self._compare(state, values)
        if self._pending(state):
            yield from self.send_all(state, *values)
        if state.run is None:
            yield from self.run(state, *values)
        if state.cancelled:
            return
        if state.decision is None:
            yield from self.open_decision(state)
        if self._needs_reasons(state):
            yield from self.reasons(state, *values)
            if state.cancelled:
                return
        # The last view has the plot, which the browser can skip if one without it follows at once.
        if state.explained is None:
            yield from self.explain(state, *values)
        else:
            yield self._nothing(state)

    def _needs_reasons(self, state: PageState) -> bool:
        denied = state.decision is not None and not state.decision.approved
        return has_reasons(self.public) and denied and state.reasons is None

    def start_over(self, state: PageState) -> Iterator[View]:
        """Erase the application and reset the page."""
        with suppress(TrisealError):  # then the application expires by itself
            discard(state)
        state.clear()
        yield self.view(state)

    def _nothing(self, state: PageState) -> View:
        parts = len(self.parties) + len(self.buttons) + 13
        return [state, *(gr.skip() for _ in range(parts))]

    def _followed(
        self, state: PageState, program: str, call: Callable[[Tell], T]
    ) -> Generator[View, None, T | None]:
        """Make a call that runs a program and show its progress; None if it is cancelled."""

        def following(tell: Tell) -> T:
            def told(news: RunNews) -> None:
                if state.stopping:
                    raise RunCancelled("The run was cancelled before the server accepted it.")
                tell(news)

            return call(told)

        def show(news: RunNews) -> View:
            state.news = news
            return self._under_way(state)

        state.asks(program)
        try:
            return (yield from followed(following, show))
        except RunCancelled:
            state.cancelled = program
            return None
        finally:
            state.heard()

    def _under_way(self, state: PageState) -> View:
        """Return a view that updates only the progress of the run."""
        view, public = self._nothing(state), self.public
        view[1] = self._if_new(state, 1, panels.strip(state, public))
        after = 3 + len(self.parties)
        for place, text in (
            (after, panels.run_panel(state, public)),
            (after + 2, panels.explanation_panel(state, public)),
            (after + 5, panels.reasons_panel(state, public)),
        ):
            view[place] = self._if_new(state, place, text)
        view[after + 6 :] = [
            *self._cancels(state),
            gr.skip(),
            *self._buttons(state),
        ]
        return view

    def _if_new(self, state: PageState, place: int, text: str) -> Any:
        """Return a part of the view, or skip it if it is shown already.

        The browser would draw it again, and fold what a person has unfolded in it.
        """
        if state.drawn.get(place) == text:
            return gr.skip()
        state.drawn[place] = text
        return text

    def _make_keys(self, state: PageState) -> None:
        state.step, before = KEYS, state.client_id
        keys = backend.keygen_send()
        if backend.connection().public.digest != self.public.digest:
            backend.discard_application(keys.client_id)
            raise DeploymentMixed(
                "The server has loaded another model since this page was started. Restart the page."
            )
        state.made(keys)
        if before:
            backend.discard_application(before)

    def _send(self, state: PageState, party: Party, values: tuple[Any, ...]) -> None:
        own = self._of(party, values)
        state.step = party.name
        sent = backend.pre_process_encrypt_send(state.client_id, party.name, record_of(party, own))
        state.took(sent, own)

    def _of(self, party: Party, values: tuple[Any, ...]) -> list[Any]:
        start = 0
        for other in self.parties:
            if other.name == party.name:
                break
            start += len(other.columns)
        return list(values[start : start + len(party.columns)])

    def _compare(self, state: PageState, values: tuple[Any, ...]) -> None:
        for party in self.parties:
            state.compare(party.name, self._of(party, values))

    def _pending(self, state: PageState) -> list[Party]:
        return [p for p in self.parties if p.name not in state.sent or p.name in state.changed]

    def _refuse_changed(self, state: PageState) -> None:
        changed = [f"the {p.label}" for p in self.parties if p.name in state.changed]
        if changed:
            raise OutOfStep(
                f"Values of {join_words(changed)} have changed since they were sent. Encrypt and "
                "send them first (step 2); the other records need not be sent again."
            )
