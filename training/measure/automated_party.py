"""One party's agent, with its user's actions automated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from engines.interface import DECIDE, EXPLAIN
from parties.agent import Agent, ApplicationAgent
from parties.client import ServerClient
from parties.connection import Connection
from parties.store import PartyStore
from utils.errors import EvaluationFailed, OutOfStep, UnknownApplication

_ANSWER_SECONDS = 120.0
_GLANCE_SECONDS = 0.5


class AutomatedParty:
    """One party of successive applications, which gives its record and agrees to everything."""

    def __init__(self, client: ServerClient, party: str, home: Path) -> None:
        """Connect to the server, with files in `home`; raises connection errors."""
        self._agent = Agent(Connection(client, PartyStore(home)), party)
        self._application: ApplicationAgent | None = None

    def join(self, code: str) -> None:
        """Join, and return once the joint key has been made and checked."""
        application = self._application = self._agent.join(code, pinned=True)
        self._until(application, lambda: application.member.keys_ready)

    def decide(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Encrypt and send, agree once all have sent, and return once the decision is opened."""
        application = self._own()
        sent = application.send(record)
        self._until(application, lambda: application.member.records_arrived)
        upload = application.member.upload
        self._agreed(application, DECIDE)
        self._until(application, lambda: application.member.decision is not None)
        decision = application.member.decision
        if decision is None:
            raise EvaluationFailed("There is no decision.")
        return {
            "opened": decision.opened,
            "encrypt": sent.encrypt_seconds,
            "send": sent.send_seconds if upload is None else upload.seconds,
            **self._runs(application, DECIDE),
        }

    def explain(self) -> dict[str, Any]:
        """Agree to the explanation; returns its values, once it is opened, if this party reads it.

        A party that does not read it returns once it has sent its share.
        """
        application = self._own()
        member = application.member
        self._agreed(application, EXPLAIN)
        if member.reads(EXPLAIN):
            self._until(application, lambda: member.explanation is not None)
        else:
            self._until(application, lambda: application.answered(EXPLAIN))
        opened = member.explanation
        return {
            "opened": None if opened is None else opened.explanation.opened,
            **self._runs(application, EXPLAIN),
        }

    def leave(self, erase: bool = True) -> None:
        """Erase this party's files of the application and, if `erase`, the server's for all."""
        application, self._application = self._own(), None
        with suppress(UnknownApplication):
            if erase:
                application.member.discard()
            else:
                application.member.expire()

    def _runs(self, application: ApplicationAgent, program: str) -> dict[str, float]:
        """Return the server's seconds for a program and, if it has one, its comparison."""
        state, public = application.member.state, self._agent.connection.public
        programs = dict.fromkeys((program, public.final(program)))
        return {
            f"run of {one}": (state.programs[one].seconds if state else None) or 0.0
            for one in programs
        }

    def _own(self) -> ApplicationAgent:
        if self._application is None:
            raise OutOfStep("This party has not joined yet.")
        return self._application

    def _agreed(self, application: ApplicationAgent, program: str) -> None:
        def agreed() -> bool:
            try:
                application.agree(program)
            except OutOfStep:
                return False  # the public key has not arrived yet
            return True

        self._until(application, agreed)

    @staticmethod
    def _until(application: ApplicationAgent, holds: Callable[[], bool]) -> None:
        serial = application.serial
        while not holds():
            if application.over:
                raise UnknownApplication(application.over)
            if application.failure is not None:
                raise application.failure
            serial = application.wait(serial, _GLANCE_SECONDS)
            application.look()


class PartyProcess(AutomatedParty):
    """An automated party that counts its calls; for use in training.measure.remote.Remote."""

    def __init__(self, url: str, party: str, home: Path) -> None:
        """Connect to the server at `url`, with files in `home`; raises connection errors."""
        self._transport = _CountingTransport()
        super().__init__(ServerClient(url, _ANSWER_SECONDS, self._transport), party, home)

    def join(self, code: str) -> None:
        """Join, and return once the joint key has been made and checked."""
        self._transport.calls = 0
        super().join(code)

    def calls(self) -> int:
        """Return the number of calls to the server since it was told to join."""
        return self._transport.calls


class _CountingTransport(httpx.HTTPTransport):
    """HTTP that counts its requests."""

    def __init__(self) -> None:
        super().__init__(trust_env=False)
        self.calls = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        return super().handle_request(request)
