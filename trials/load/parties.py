"""Applications made with the parties' own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from engines.interface import DECIDE, EXPLAIN
from parties.client import ServerClient
from parties.connection import Connection
from parties.joint.codes import open_joint
from parties.retrying import ask_again
from parties.sessions import Session, session_class
from parties.store import PartyStore
from training.measure.automated_party import AutomatedParty
from trials.load.timing import Call, TimedTransport
from trials.load.work import Application, Opened
from utils.errors import OutOfStep

ANSWER_SECONDS = 180.0
BUSY_SECONDS = 120.0
"""Time to retry a step while the server is busy."""

T = TypeVar("T")


class AgentParties:
    """All parties of successive applications, each with the agent that its own process would run.

    Each has its own files, connections and threads.
    """

    def __init__(self, urls: Sequence[str], home: Path, note: Callable[[Call], None]) -> None:
        """Connect every party; raises the errors of Connection."""
        self._servers = len(urls)
        self._transports: list[TimedTransport] = []
        self._client = self._connected(urls, note)
        self._names = tuple(self._client.model().schema_.party_names)
        self._parties = {
            name: AutomatedParty(self._connected(urls, note), name, home / name)
            for name in self._names
        }

    def make(self, number: int, application: Application) -> Opened:
        """Make a complete application and erase it; returns all opened values.

        Raises errors of the server and the engine.
        """
        for transport in self._transports:
            transport.stay_at(home_of(number, self._servers))
        codes = patiently(lambda: open_joint(self._client)).codes
        try:
            self._all(AutomatedParty.join, codes)
            decided = self._all(AutomatedParty.decide, application.records)
            opened: Opened = {DECIDE: (decided[self._names[0]]["opened"],)}
            if application.explained:
                found = self._all(AutomatedParty.explain).values()
                opened[EXPLAIN] = next(own["opened"] for own in found if own["opened"] is not None)
        finally:
            self._leave()
        return opened

    def _connected(self, urls: Sequence[str], note: Callable[[Call], None]) -> ServerClient:
        transport = TimedTransport(urls, note)
        self._transports.append(transport)
        return ServerClient(urls[0], ANSWER_SECONDS, transport)

    def _all(
        self, step: Callable[..., T], arguments: Mapping[str, Any] | None = None
    ) -> dict[str, T]:
        """Let all parties take a step concurrently; returns the results by party."""

        def take(name: str) -> T:
            given = () if arguments is None else (arguments[name],)
            return patiently(lambda: step(self._parties[name], *given))

        with ThreadPoolExecutor(len(self._names)) as pool:
            return dict(zip(self._names, pool.map(take, self._names), strict=True))

    def _leave(self) -> None:
        for name, party in self._parties.items():
            with suppress(OutOfStep):  # it had not joined
                party.leave(erase=name == self._names[0])


class SessionParties:
    """A session that plays all parties of successive applications, of an engine with one key."""

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


def parties_of(
    urls: Sequence[str], home: Path, note: Callable[[Call], None]
) -> AgentParties | SessionParties:
    """Return parties for the servers' engine; raises the errors of connecting."""
    with ServerClient(urls[0], ANSWER_SECONDS) as client:
        joint = client.model().engine.joint_keys
    return (AgentParties if joint else SessionParties)(urls, home, note)


def home_of(number: int, servers: int) -> int | None:
    """Return the application's server; None, for every second one, means each in turn."""
    return number // 2 % servers if number % 2 == 0 else None


def patiently(step: Callable[[], T]) -> T:
    """Return the result of a step, which is retried while the server is busy."""
    return ask_again(step, BUSY_SECONDS)
