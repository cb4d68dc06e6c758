"""Asking again: for how long, how often, and what a person is told meanwhile.

A server that is busy says when to ask again; one that cannot be reached is asked after a short
while, then after longer ones. Only what may be asked twice is asked again.
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
"""How long a call for which somebody waits is asked again."""
RESTART_SECONDS = 30.0
"""The same once the server has said that it is shutting down: it needs as long to come back."""
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 3.0
SPREAD = 0.2
"""A pause is up to so much longer, so that those who were refused together come one by one."""
GLANCE_SECONDS = 1.0
"""How often `told` is called while a pause lasts."""

T = TypeVar("T")
Told = Callable[[TrisealError, float], None]
"""Is given why a call has to wait, and the seconds until it is asked again; what it raises ends
the waiting."""


def untold(_error: TrisealError, _seconds: float) -> None:
    """Where nobody is to be told."""


def may_pass(error: TrisealError) -> bool:
    """Whether the same call may succeed a little later, with nothing else changed."""
    if isinstance(error, ServerUnreachable):
        lost = error.__cause__  # not there where what answers is something else
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
    """What `call` answers, asked again while its error may pass.

    For at most `seconds`, counted from the first such error (from the call itself where it was
    awaited in vain), or from the moment `since` of the monotonic clock. An error that is still
    there then, or asks for more time than is left, is raised. A server that says it is shutting
    down gets at least RESTART_SECONDS.
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
    """Let time pass because of an error; `told` is called at once, and every second."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        told(error, left)
        time.sleep(min(left, GLANCE_SECONDS))


def waiting_words(error: TrisealError, seconds: float) -> str:
    """What a person is told while a call waits: why, and when it is asked again."""
    why = error.message.split(". ")[0].rstrip(".")
    if isinstance(error, ServerBusy) and "busy" not in why:
        why = f"The server is busy. {why}"
    return f"{why}. Trying again in {max(1, math.ceil(seconds))} s."
