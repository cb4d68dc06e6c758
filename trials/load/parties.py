"""One application made by the parties' own code: a session that plays all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from engines.interface import DECIDE, EXPLAIN
from parties.client import ServerClient
from parties.connection import Connection
from parties.retrying import ask_again
from parties.sessions import Session, session_class
from parties.store import PartyStore
from trials.load.timing import Call, TimedTransport
from trials.load.work import Application, Scores
from utils.errors import EvaluationFailed

ANSWER_SECONDS = 180.0
BUSY_SECONDS = 120.0
"""How long a step is tried again while the server says that it is busy."""

T = TypeVar("T")


class Parties:
    """The parties of one application after another, with an engine and connections of their own."""

    def __init__(self, urls: Sequence[str], home: Path, note: Callable[[Call], None]) -> None:
        """Connect and load the engine; raises what Connection raises."""
        self._transport = TimedTransport(urls, note)
        client = ServerClient(urls[0], ANSWER_SECONDS, self._transport)
        self._connection = Connection(client, PartyStore(home))
        self._servers = len(urls)

    def make(self, number: int, application: Application) -> Scores:
        """Open, agree on keys, encrypt, run, open what came out, erase; all opened scores.

        Raises what the server and the engine raise.
        """
        self._transport.stay_at(home_of(number, self._servers))
        session = patiently(self._open)
        try:
            patiently(session.make_keys)
            for party, record in application.records.items():
                patiently(partial(session.send, party, record))
            patiently(session.run)
            decision = patiently(session.open_decision)
            if decision.score is None:
                raise EvaluationFailed("The decision came without a score; nothing to compare.")
            opened: Scores = {DECIDE: (decision.score,)}
            if application.explained:
                opened[EXPLAIN] = patiently(session.explain).explanation.scores
            patiently(session.erase)
        except BaseException:
            session.discard()
            raise
        return opened

    def _open(self) -> Session:
        return session_class(self._connection.public).open(self._connection)


def home_of(number: int, servers: int) -> int | None:
    """The server that an application has; every other one goes to each server in turn."""
    return number // 2 % servers if number % 2 == 0 else None


def patiently(step: Callable[[], T]) -> T:
    """What a step answers; it is tried again while the server is busy."""
    return ask_again(step, BUSY_SECONDS)
