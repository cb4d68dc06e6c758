"""Asking for a run and following it to its end, whatever becomes of the server meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from contract.http import ProgramState
from engines.interface import Progress
from parties.client import ServerClient
from parties.retrying import ask_again, waiting_words
from utils.errors import EvaluationFailed, TransportError, TrisealError, error_classes

SILENCE_SECONDS = 10.0
"""Without an event for so long, a followed run is looked at for whether it has ended."""
PAUSE_SECONDS = 0.2
"""Between two looks, where the events end at once because the server does."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunNews:
    """How a run stands, for the one who asked for it.

    `queued` and `running` are as the server has it, with the finished `share`, 0 to 1; `waiting`
    where the server is busy or cannot be reached, and then `text` says why and for how long.
    """

    program: str
    status: Literal["waiting", "queued", "running"]
    share: float = 0.0
    text: str = ""


Tell = Callable[[RunNews], None]
"""Is called from the thread that asked; what it raises ends the following, not the run."""


class RunFollower:
    """One asking for a run, with `seconds` in all; `news` and `progress` are told of it."""

    def __init__(
        self,
        program: str,
        seconds: float,
        progress: Progress | None = None,
        news: Tell | None = None,
    ) -> None:
        self.program = program
        self._since, self._seconds = time.monotonic(), seconds
        self._progress, self._news = progress, news

    def patiently(self, call: Callable[[], T]) -> T:
        """What `call` answers, asked again while the server is busy or not there."""
        return ask_again(call, self._seconds, self._told, self._since)

    def report(self, found: ProgramState) -> None:
        """Tell how a run under way stands; raises TransportError when the time is over."""
        if time.monotonic() > self._since + self._seconds:
            raise TransportError(
                f"The run of {self.program} has not ended within {self._seconds:g} seconds "
                "(TRISEAL_REQUEST_TIMEOUT). It goes on at the server: ask for it again to wait on."
            )
        if found.status == "running":
            self._tell(RunNews(self.program, "running", found.progress))
        elif found.status == "queued":
            self._tell(RunNews(self.program, "queued"))

    def _told(self, error: TrisealError, seconds: float) -> None:
        self._tell(RunNews(self.program, "waiting", text=waiting_words(error, seconds)))

    def _tell(self, one: RunNews) -> None:
        if self._progress is not None and one.status == "running":
            self._progress(one.share)
        if self._news is not None:
            self._news(one)


def run_watched(
    client: ServerClient,
    client_id: str,
    token: str,
    program: str,
    progress: Progress | None = None,
    news: Tell | None = None,
) -> float:
    """Run `program` and answer the server's seconds; `progress` gets the finished share, 0 to 1.

    The run is the server's: it is asked for once, and again after a lost connection, which finds
    the same one. Raises what the run failed with, RunCancelled, and what ServerClient.queue raises.
    """
    follower = RunFollower(program, client.timeout, progress, news)
    found = follower.patiently(lambda: client.queue(client_id, token, program))
    while found.under_way:
        follower.report(found)
        found = follower.patiently(lambda: look_at_run(client, client_id, token, follower))
    return seconds_of(program, found)


def seconds_of(program: str, found: ProgramState) -> float:
    """The seconds of a run that has ended; raises what kept it from its result."""
    if found.status == "done":
        return found.seconds or 0.0
    raise stopped_by(program, found)


def stopped_by(program: str, found: ProgramState) -> TrisealError:
    """What a run failed with, or RunCancelled."""
    cls = error_classes().get(found.error_code or "", EvaluationFailed)
    return cls(found.error or f"The run of {program} has no result; ask for it again.")


def look_at_run(
    client: ServerClient, client_id: str, token: str, follower: RunFollower
) -> ProgramState:
    """Follow a run; return it when it has ended, or when nothing has been heard for a while."""
    for state in client.events(client_id, token, SILENCE_SECONDS):
        found = state.programs.get(follower.program)
        if found is None:
            break
        if not found.under_way:
            return found
        follower.report(found)
    found = client.program(client_id, token, follower.program)
    if found.under_way:
        time.sleep(PAUSE_SECONDS)
    return found
