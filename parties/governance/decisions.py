"""The encrypted decisions of the owner: its agent joins an application, sends the record, agrees.

The party that the owner plays is the one whose columns the data set's record has. The decision goes
to the owner's activity, if the owner is among its readers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from engines.interface import EXPLAIN, REASONS
from features.contradictions import broken_rules
from features.encoding import Layout
from governance.datasets import Record
from governance.program_permits import programs_of
from governance.requests import Action
from parties.agent import Agent, ApplicationAgent
from parties.client import ServerClient
from parties.connection import Connection
from parties.joint.identities import IdentityKey, Trust
from parties.store import PartyStore
from utils.errors import AlreadySent, DataSetInvalid, OutOfStep, TrisealError, ValueOutOfDomain

KEY_SECONDS = 8.0
"""Longest wait for the parties' key, before a use is begun."""
RESULT_SECONDS = 24 * 3600.0
GLANCE_SECONDS = 5.0

Told = Callable[[str, str], None]
"""Called with an application's id and its decision in words."""


class OwnDecisions:
    """The applications that the owner's agent takes part in. It connects at the first one.

    Raises EngineUnavailable if the server's engine has no joint keys.
    """

    def __init__(self, client: ServerClient, home: Path, key: IdentityKey, told: Told) -> None:
        self._client, self._home, self._key, self._told = client, home, key, told
        self._connection: Connection | None = None
        self._agents: dict[str, Agent] = {}
        self._followed: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def model(self) -> str:
        """SHA-256 of the public model, in hexadecimal."""
        return self._connected().public.digest

    def prepare(self, join_code: str, record: Record) -> str:
        """Join the application, and check that the record can be sent; return its id.

        Raises DataSetInvalid if no party has these columns or the model does not allow a value,
        OutOfStep until the parties have made the key, and what joining raises.
        """
        application = self._joined(join_code, record)
        member, end = application.member, time.monotonic() + KEY_SECONDS
        _require_allowed(self._connected().layout, member.party, record)
        while not member.keys_ready and time.monotonic() < end and not self._closed.is_set():
            application.wait(application.serial, 0.5)
        if not member.keys_ready:
            raise OutOfStep(
                "The parties of the application have not made their key yet: join it with your "
                "own agent too, then use the permit again."
            )
        return member.client_id

    def perform(
        self, join_code: str, record: Record, action: Action, stands: Callable[[], bool]
    ) -> None:
        """Send the record, and agree to the action's programs as soon as the others are ready.

        Harmless if that has been done. The agreements and the results are followed in the
        background; an agreement is given only while `stands` returns True.
        """
        application = self._joined(join_code, record)
        member = application.member
        if not member.has_sent:
            application.send(record)
        elif not member.is_sent(record):
            raise AlreadySent("Another record was sent for this application; open a new one.")
        for program in programs_of(member.public, action):
            with self._lock:
                if (member.client_id, program) in self._followed:
                    continue
                self._followed.add((member.client_id, program))
            name = f"agree {member.client_id[:8]}"
            follow = threading.Thread(
                target=self._follow, args=(application, program, stands), name=name, daemon=True
            )
            follow.start()

    def close(self) -> None:
        """Stop taking part; the applications stay as they are."""
        self._closed.set()
        with self._lock:
            for agent in self._agents.values():
                agent.close()

    def _connected(self) -> Connection:
        with self._lock:
            if self._connection is None:
                self._connection = Connection(
                    self._client, PartyStore(self._home), trust=Trust(own=self._key)
                )
            return self._connection

    def _joined(self, join_code: str, record: Record) -> ApplicationAgent:
        connection = self._connected()
        party = next(
            (
                party.name
                for party in connection.public.schema_.parties
                if {column.name for column in party.columns} == record.keys()
            ),
            None,
        )
        if party is None:
            raise DataSetInvalid(
                "The data set has not the columns of a party of the server's model; store a record "
                "with exactly these columns."
            )
        with self._lock:
            if party not in self._agents:
                self._agents[party] = Agent(connection, party)
            agent = self._agents[party]
        return agent.join(join_code, pinned=True)

    def _follow(
        self, application: ApplicationAgent, program: str, stands: Callable[[], bool]
    ) -> None:
        """Agree when that is possible, wait for the result, and tell it in words."""
        member, end, told = application.member, time.monotonic() + RESULT_SECONDS, ""
        while not self._closed.is_set() and time.monotonic() < end and not application.over:
            serial = application.serial
            try:
                if member.party not in member.agreed_by(program):
                    if stands():
                        application.agree(program)
                elif not member.reads(program):
                    return
                elif words := self._words(application, program):
                    self._told(member.client_id, words)
                    return
            except OutOfStep:
                pass  # the other parties have not sent their records yet
            except TrisealError as error:
                if error.message != told:
                    told = error.message
                    self._told(member.client_id, f"The application does not go on: {told}")
            application.look()
            application.wait(serial, GLANCE_SECONDS)

    def _words(self, application: ApplicationAgent, program: str) -> str:
        member, short = application.member, application.member.client_id[:8]
        if program == EXPLAIN:
            opened = member.explanation
            said = [] if opened is None else opened.explanation.texts
            return f"Application {short}: {' '.join(said)}" if said else ""
        if program == REASONS:
            stated = member.reasons
            return "" if stated is None else f"Application {short}: {stated.text}"
        decision = member.decision
        if decision is None:
            return ""
        return f"Application {short}: {decision.word(self._connected().public.schema_)}."


def _require_allowed(layout: Layout, party: str, record: Record) -> None:
    """Raise DataSetInvalid for a record that the model does not allow, without its values.

    The institution is told the message.
    """
    for code in layout.party_codes(party):
        try:
            code.state(record.get(code.column.name))
        except ValueOutOfDomain:
            raise DataSetInvalid(
                f"The record has a value of {code.column.name} that the server's model does not "
                "allow; its owner has to store a corrected record."
            ) from None
    if broken_rules(layout.schema, party, record):
        # Not which rule: that would tell the institution what its columns hold.
        raise DataSetInvalid(
            "The record contradicts itself by the rules of the server's model; its owner has to "
            "store a corrected record."
        )
