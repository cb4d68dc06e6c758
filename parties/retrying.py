"""Retries of calls to the server, and the text shown to a person meanwhile.

A busy server says when to retry; an unreachable one is retried with exponential backoff. Only calls
that are safe to repeat are retried.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from utils.errors import (
    EngineUnavailable,
    ServerBusy,
    ServerStopping,
    ServerUnreachable,
    StorageUnavailable,
    TrisealError,
)

BRIEF_SECONDS = 4.0
"""Time for which a call is retried while a person waits for it."""
RESTART_SECONDS = 30.0
"""The same after a response that the server is shutting down, to allow for its restart."""
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 3.0
SPREAD = 0.2
"""Random extension of a pause, so that clients refused together do not retry together."""
GLANCE_SECONDS = 1.0
"""Interval between calls of `told` during a pause."""

_TRYING = "Trying again in"

T = TypeVar("T")
Told = Callable[[TrisealError, float], None]
"""A callback with the error that a call waits for and the seconds until the retry; an error that it
raises ends the wait."""


def untold(_error: TrisealError, _seconds: float) -> None:
    """Do nothing; the default callback."""


def may_pass(error: TrisealError) -> bool:
    """Return True if the same call may succeed a little later without any other change."""
    if isinstance(error, ServerUnreachable):
        lost = error.__cause__  # of another class if something other than Triseal responded
        return isinstance(lost, httpx.TransportError | httpx.HTTPStatusError) and not isinstance(
            lost, httpx.UnsupportedProtocol
        )
    return isinstance(error, ServerBusy | ServerStopping | StorageUnavailable | EngineUnavailable)


def ask_again(
    call: Callable[[], T],
    seconds: float = BRIEF_SECONDS,
    told: Told = untold,
    since: float | None = None,
) -> T:
    """Return the result of `call`, retried while its error is temporary.

    Retries last at most `seconds`, counted from the first such error (from the start of the call if
    it timed out), or from the time `since` of the monotonic clock. An error that persists, or that
    asks for a longer wait than the time left, is raised. A server that is shutting down gets at
    least RESTART_SECONDS.
    """
    pause = SHORTEST_PAUSE_SECONDS
    while True:
        begun = time.monotonic()
        try:
            return call()
        except TrisealError as error:
            if not may_pass(error):
                raise
            now = time.monotonic()
            if since is None:
                since = begun if isinstance(error.__cause__, httpx.ReadTimeout) else now
            if isinstance(error, ServerStopping):
                seconds = max(seconds, RESTART_SECONDS)
            wait = error.retry_seconds if isinstance(error, ServerBusy) else pause
            if now + wait > since + seconds:
                raise
            wait_for(wait * random.uniform(1, 1 + SPREAD), error, told)  # noqa: S311 - no secret
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def wait_for(seconds: float, error: TrisealError, told: Told) -> None:
    """Wait because of an error; call `told` at once and then every second."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        told(error, left)
        time.sleep(min(left, GLANCE_SECONDS))


def waiting_words(error: TrisealError, seconds: float) -> str:
    """Return the text for a person while a call waits: the reason and the time to the retry."""
    why = error.message.split(". ")[0].rstrip(".")
    if isinstance(error, ServerBusy) and "busy" not in why:
        why = f"The server is busy. {why}"
    return f"{why}. {_TRYING} {max(1, math.ceil(seconds))} s."


def reason_of(text: str) -> str:
    """Return the reason in a text of `waiting_words`, without the time, which changes."""
    return text.partition(f" {_TRYING}")[0]
