"""A probe in its own process that measures the latency of calls from outside the load.

The generators spend their time encrypting, and their calls also wait for their own interpreter.
The probe only makes calls, at a fixed rate, while they work.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from engines.interface import DECIDE
from parties.client import ServerClient
from trials.load.generator import Source
from trials.load.prepared import Preparation, PreparedParties
from trials.load.timing import Call, TimedTransport
from trials.load.work import WrongAnswer
from utils.errors import TrisealError

HEALTH_SECONDS = 0.05
STATE_SECONDS = 0.1
"""Interval between calls for an application's state, with two tokens in turn."""
ERRAND_SECONDS = 1.0
"""Interval between small applications: opened, joined, one message, erased."""
WHOLE_SECONDS = 2.0
"""Interval between complete, prepared applications, for the other kinds of calls."""
WRONG = "wrong"
"""Recorded, like an error code, if a complete application's result was wrong."""
_ANSWER_SECONDS = 30.0
_BODY_BYTES = 400


class Probe:
    """Makes calls until stopped; for use in training.measure.remote.Remote."""

    def __init__(self, urls: Sequence[str], source: Source) -> None:
        """Encrypt one application of `source`; raises errors of the server and the engine."""
        self._urls = urls
        self._whole = _Whole(urls, source, self._note)
        self._calls: list[Call] = []
        self._failed: list[str] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start making calls."""
        self._calls, self._failed = [], []
        self._stop.clear()
        watched = _Watched(self._client())
        errands = _Errands(self._client())
        plan = (
            (self._client().health, HEALTH_SECONDS),
            (watched.look, STATE_SECONDS),
            (errands.run, ERRAND_SECONDS),
            (self._whole.run, WHOLE_SECONDS),
        )
        self._threads = [
            threading.Thread(target=self._repeat, args=(call, every), daemon=True)
            for call, every in plan
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> tuple[list[Call], list[str]]:
        """Stop; returns all calls since the start, and the errors."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self._calls, self._failed

    def _note(self, call: Call) -> None:
        self._calls.append(call)

    def _client(self) -> ServerClient:
        transport = TimedTransport(self._urls, self._note)
        transport.stay_at(None)
        return ServerClient(self._urls[0], _ANSWER_SECONDS, transport)

    def _repeat(self, call: Callable[[], object], every: float) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + every, time.monotonic())
            try:
                call()
            except TrisealError as error:
                self._failed.append(error.code)
            except WrongAnswer:
                self._failed.append(WRONG)


class _Watched:
    """An application whose state is requested."""

    def __init__(self, client: ServerClient) -> None:
        self._client = client
        opened = client.open_application()
        self._client_id = opened.client_id
        party, code = next(iter(opened.join_codes.items()))
        self._tokens = [opened.watch_token, client.join(opened.client_id, party, code).token]

    def look(self) -> None:
        self._tokens.reverse()
        self._client.state(self._client_id, self._tokens[0])


class _Whole:
    """A complete application, whose result is compared."""

    def __init__(self, urls: Sequence[str], source: Source, note: Callable[[Call], None]) -> None:
        self._work = source.draw()
        self._application = replace(self._work.applications[0], explained=False)
        preparation = Preparation(urls[0], self._work, [self._application.number])
        self._parties = PreparedParties(urls, preparation, note)
        self._made = 0

    def run(self) -> None:
        self._made += 1
        opened = self._parties.make(self._made, self._application)
        self._work.require(self._application, DECIDE, opened[DECIDE])


class _Errands:
    """All short calls of an application."""

    def __init__(self, client: ServerClient) -> None:
        self._client = client

    def run(self) -> None:
        client = self._client
        opened = client.open_application()
        party, code = next(iter(opened.join_codes.items()))
        token = client.join(opened.client_id, party, code).token
        number = client.post(
            opened.client_id, token, "hello", None, secrets.token_bytes(_BODY_BYTES)
        )
        client.messages(opened.client_id, token, number - 1)
        client.traffic(opened.client_id, opened.watch_token)
        client.erase(opened.client_id, token)
