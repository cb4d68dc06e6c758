"""Requests for a run, followed to its end across restarts of the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from contract.http import ProgramState
from engines.interface import Progress
from parties.client import ServerClient
from parties.retrying import ask_again, waiting_words
from utils.errors import EvaluationFailed, ServerBusy, TransportError, TrisealError, error_classes

SILENCE_SECONDS = 10.0
"""Longest wait for an event before the state of a followed run is requested."""
PAUSE_SECONDS = 0.2
"""Time between two requests if the events end at once because the server is shutting down."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunNews:
    """The progress of a run, for its caller.

    `queued` and `running` are the run's state on the server, which `found` has in full. `waiting`
    means that the server is `busy` or cannot be reached; `text` then has the reason and the time
    until the next attempt.
    """

    program: str
    status: Literal["waiting", "queued", "running"]
    found: ProgramState | None = None
    text: str = ""
    busy: bool = False

    @property
    def share(self) -> float:
        """The finished share, from 0 to 1."""
        return 0.0 if self.found is None else self.found.progress


Tell = Callable[[RunNews], None]
"""A callback, called from the caller's thread; an error that it raises ends the wait, not the
run."""


class RunFollower:
    """One request for a run, limited to `seconds` in all; calls `news` and `progress`."""

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
        """Return the result of `call`, repeated while the server is busy or unreachable."""
        return ask_again(call, self._seconds, self._told, self._since)

    def report(self, found: ProgramState) -> None:
        """Report the state of a run under way; raises TransportError when the time is up."""
        if time.monotonic() > self._since + self._seconds:
            raise TransportError(
                f"The run of {self.program} has not ended within {self._seconds:g} seconds "
                "(TRISEAL_REQUEST_TIMEOUT). It goes on there: request it again to keep waiting."
            )
        if found.status == "running":
            self._tell(RunNews(self.program, "running", found))
        elif found.status == "queued":
            self._tell(RunNews(self.program, "queued", found))

    def _told(self, error: TrisealError, seconds: float) -> None:
        text, busy = waiting_words(error, seconds), isinstance(error, ServerBusy)
        self._tell(RunNews(self.program, "waiting", text=text, busy=busy))

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
    queue: Callable[[], ProgramState] | None = None,
) -> ProgramState:
    """Run `program` and return its state when it is done; `queue` requests it.

    `progress` gets the finished share, 0 to 1. The request is repeated after a lost connection and
    then finds the same run. Raises the error that the run failed with, RunCancelled, and the errors
    of ServerClient.queue.
    """
    follower = RunFollower(program, client.timeout, progress, news)
    queue = queue or (lambda: client.queue(client_id, token, program))
    found = follower.patiently(queue)
    while found.under_way:
        follower.report(found)
        found = follower.patiently(lambda: look_at_run(client, client_id, token, follower))
    return require_result(program, found)


def require_result(program: str, found: ProgramState) -> ProgramState:
    """Return the state of a run that has ended; raises its error if it has no result."""
    if found.status == "done":
        return found
    raise stopped_by(program, found)


def stopped_by(program: str, found: ProgramState) -> TrisealError:
    """Return the error that a run failed with, or RunCancelled."""
    cls = error_classes().get(found.error_code or "", EvaluationFailed)
    return cls(found.error or f"The run of {program} has no result; run it again.")


def look_at_run(
    client: ServerClient, client_id: str, token: str, follower: RunFollower
) -> ProgramState:
    """Follow a run; return its state when it has ended or when the events stop."""
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
