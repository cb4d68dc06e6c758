"""Applications made with the parties' own code: a session that plays all parties."""

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
from trials.load.work import Application, Opened

ANSWER_SECONDS = 180.0
BUSY_SECONDS = 120.0
"""Time to retry a step while the server is busy."""

T = TypeVar("T")


class Parties:
    """All parties of successive applications, with their own engine and connections."""

    def __init__(self, urls: Sequence[str], home: Path, note: Callable[[Call], None]) -> None:
        """Connect and load the engine; raises the errors of Connection."""
        self._transport = TimedTransport(urls, note)
        client = ServerClient(urls[0], ANSWER_SECONDS, self._transport)
        self._connection = Connection(client, PartyStore(home))
        self._servers = len(urls)

    def make(self, number: int, application: Application) -> Opened:
        """Make a complete application and erase it; returns all opened values.

        Raises errors of the server and the engine.
        """
        self._transport.stay_at(home_of(number, self._servers))
        session = patiently(self._open)
        try:
            patiently(session.make_keys)
            for party, record in application.records.items():
                patiently(partial(session.send, party, record))
            patiently(session.run)
            decision = patiently(session.open_decision)
            opened: Opened = {DECIDE: (decision.opened,)}
            if application.explained:
                opened[EXPLAIN] = patiently(session.explain).explanation.opened
            patiently(session.erase)
        except BaseException:
            session.discard()
            raise
        return opened

    def _open(self) -> Session:
        return session_class(self._connection.public).open(self._connection)


def home_of(number: int, servers: int) -> int | None:
    """Return the application's server; None, for every second one, means each in turn."""
    return number // 2 % servers if number % 2 == 0 else None


def patiently(step: Callable[[], T]) -> T:
    """Return the result of a step, which is retried while the server is busy."""
    return ask_again(step, BUSY_SECONDS)
