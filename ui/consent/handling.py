"""Handlers of both pages: they return new values by component, and show errors in place."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import gradio as gr
from gradio.components import Component

from ui.error_words import (
    UNEXPECTED,
    UNEXPECTED_DETAIL,
    ErrorWords,
    error_words,
    words_html,
)
from ui.single.actions import shown_at_once
from ui.ticks import CONCURRENT_TICKS
from utils.errors import TrisealError

View = dict[str, Any]
"""New values by the component's name; components that are not named stay as they are."""
Handler = Callable[..., View]
EXPIRY_SECONDS = 30.0
"""Interval at which a page is rendered without a change."""

log = logging.getLogger(__name__)


class Turn:
    """A context in which one handler of a browser session runs at a time.

    Otherwise what a timer has rendered before a step could reach the page after it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __deepcopy__(self, _memo: object) -> Turn:
        return Turn()  # Gradio copies the state for each browser session


class Told(Protocol):
    """The state of a browser session, rendered at `rendered` (monotonic) as of `serial`.

    Whoever renders it holds `turn`. `told` maps each section to its message in HTML, and `listed`
    each list of choices to what it was filled with.
    """

    turn: Turn
    serial: int
    rendered: float
    told: dict[str, str]
    listed: dict[str, Any]


def is_outdated(shown: Told, serial: int) -> bool:
    """Return True if the agent has changed, or requests may have expired by themselves."""
    return shown.serial != serial or time.monotonic() - shown.rendered > EXPIRY_SECONDS


def refilled(shown: Told, name: str, choices: list[tuple[str, str]], value: str | None) -> Any:
    """Return the update of a list of choices, none if choices and value are those of the last one.

    Otherwise each update would take back what a person has just chosen.
    """
    filled = (choices, value)
    if shown.listed.get(name) == filled:
        return gr.skip()
    shown.listed[name] = filled
    return gr.update(choices=choices, value=value)


def in_place(section: str, handler: Handler, view: Callable[[Any], View]) -> Handler:
    """Wrap a handler so that its error is shown in its section; `view` renders the page then."""

    @functools.wraps(handler)
    def guarded(shown: Told, *args: Any) -> View:
        with shown.turn:
            return taken(shown, *args)

    def taken(shown: Told, *args: Any) -> View:
        shown.told.clear()
        try:
            return handler(shown, *args)
        except TrisealError as error:
            words = error_words(error)
        except Exception:
            log.exception("a step of the page failed")
            words = ErrorWords(UNEXPECTED, UNEXPECTED_DETAIL)
        shown.told[section] = words_html(words)
        return view(shown)

    return guarded


class Wiring:
    """Connects events to handlers. `parts` are the page's components by name, `state` first."""

    def __init__(self, parts: dict[str, Component]) -> None:
        self._by_name = parts
        self._names, self._parts = list(parts), list(parts.values())

    def on(
        self,
        event: Any,
        handler: Callable[..., Any],
        inputs: Sequence[Component],
        name: str,
        *,
        mode: str | None = None,
        limit: int = 8,
        busy: str | None = None,
    ) -> None:
        """Call a handler at an event; `busy` names the component that shows that it is at work."""
        event(
            shown_at_once(_as_list(handler, self._names)),
            list(inputs),
            self._parts,
            show_progress="hidden" if busy is None else "minimal",
            show_progress_on=self._parts[0] if busy is None else self._by_name[busy],
            trigger_mode=mode,
            concurrency_limit=limit,
            api_name=name,
        )

    def tick(self, event: Any, handler: Callable[..., Any], state: Component) -> None:
        """Call a handler that waits for news at each tick of the timer."""
        self.on(event, handler, [state], "tick", mode="once", limit=CONCURRENT_TICKS)


def _as_list(handler: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    def listed(view: View) -> Any:
        values = [view.get(name, gr.skip()) for name in names]
        return values if len(values) > 1 else values[0]

    if inspect.iscoroutinefunction(handler):

        @functools.wraps(handler)
        async def wrapped_async(*args: Any) -> Any:
            return listed(await handler(*args))

        return wrapped_async

    @functools.wraps(handler)
    def wrapped(*args: Any) -> Any:
        return listed(handler(*args))

    return wrapped
