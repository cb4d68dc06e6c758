"""Playing an application: the next step, and a thread that takes one step or all of them.

The thread reads the application with its watch token and has the parties' agents take the steps.
It goes on while a browser reloads the stage, and ends with the application, by a pause, or if
nothing happens for a while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from contract.http import ApplicationState, TrafficItem
from engines.interface import DECIDE, ENCRYPTED_INPUTS, EXPLAIN, PUBLIC_KEY, REASONS, PublicModel
from parties.client import ServerClient
from parties.joint.messages import RECORD_COMMIT
from parties.retrying import may_pass
from ui.agent.demonstration import StepName
from utils.errors import EvaluationFailed, OutOfStep, TrisealError, UnknownApplication

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 90.0
"""Longest time without any progress before a play stops."""

AGREE = "agree"
KEY, SEND, FINISHED = "key", "send", "finished"
NUMBERS = {KEY: 1, SEND: 2, DECIDE: 3, EXPLAIN: 4, REASONS: 5}
"""The numbers of the steps, as on every page."""
WAITING = {
    KEY: "The parties join and make the joint key.",
    SEND: "The encrypted records are on their way to the server.",
    DECIDE: "The decision is being computed and opened.",
    EXPLAIN: "The explanation is being computed and opened.",
    REASONS: "The reasons are being computed and opened.",
}


@dataclass(frozen=True)
class Due:
    """The step that an application is at, and the parties that have to act in it.

    Without parties, the step goes on by itself.
    """

    step: str
    parties: tuple[str, ...] = ()


def due(
    state: ApplicationState, traffic: Sequence[TrafficItem], public: PublicModel, needless: bool
) -> Due:
    """Return the next step; `needless` is True if no reasons are needed."""
    names = public.schema_.party_names
    arrived = {(slot.party, slot.file_name) for slot in state.slots if slot.received_bytes}

    def missing(what: str) -> tuple[str, ...]:
        done = {entry.sender for entry in traffic if entry.what == what}
        return tuple(name for name in names if name not in done)

    if PUBLIC_KEY not in {file_name for _, file_name in arrived}:
        return Due(KEY)
    if away := missing(RECORD_COMMIT):
        return Due(SEND, away)
    if not {(name, ENCRYPTED_INPUTS) for name in names} <= arrived:
        return Due(SEND)
    programs = [DECIDE, EXPLAIN]
    if REASONS in public.programs and not needless:
        programs.append(REASONS)
    for program in programs:
        if away := missing(f"{AGREE}:{program}"):
            return Due(program, away)
        if not opened(program, state, traffic, public):
            return Due(program)
    return Due(FINISHED)


def opened(
    program: str, state: ApplicationState, traffic: Sequence[TrafficItem], public: PublicModel
) -> bool:
    """Return True if the decryption shares of a program's result have all been sent."""
    readers = {
        DECIDE: state.readers,
        EXPLAIN: state.explanation_readers,
        REASONS: state.reasons_readers,
    }[program]
    sent = {e.sender for e in traffic if e.what == f"partial:{public.final(program)}"}
    # The only reader of a result does not send its decryption share.
    return len(sent) >= len(public.schema_.parties) - (len(readers) == 1)


class TakesSteps(Protocol):
    """The parties' agents; see ui/stage/agents.py."""

    def take(self, party: str, client_id: str, step: StepName, example: int) -> bool: ...


class Play:
    """One application that is played to its end or, if `single`, to the end of one step."""

    def __init__(
        self,
        client: ServerClient,
        agents: TakesSteps,
        public: PublicModel,
        client_id: str,
        token: str,
    ) -> None:
        self._client, self._agents, self._public = client, agents, public
        self._client_id, self._token = client_id, token
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.example = 0
        self.needless = False
        """True once an agent has said that no reasons are needed."""
        self.problem: TrisealError | None = None
        """The reason why the last play stopped, unless it was finished or paused."""

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, example: int, single: bool) -> None:
        """Play on with the example of this index, unless the application is being played."""
        if self.running:
            return
        self.example, self.problem = example, None
        self._stop.clear()
        self._thread = threading.Thread(
            target=self._play, args=(single,), name=f"play {self._client_id[:8]}", daemon=True
        )
        self._thread.start()

    def pause(self) -> None:
        """Stop before the next step; a step that has begun is not undone."""
        self._stop.set()

    def _play(self, single: bool) -> None:
        begun, last, since = "", Due(""), time.monotonic()
        with ThreadPoolExecutor(max_workers=len(self._public.schema_.parties)) as pool:
            while not self._stop.is_set():
                try:
                    now = self._due()
                    begun = begun or now.step
                    if now.step == FINISHED or (single and now.step != begun):
                        return
                    if now != last:
                        last, since = now, time.monotonic()
                    if now.parties:
                        self._take(now, pool)
                except TrisealError as error:
                    late = time.monotonic() - since > PATIENCE_SECONDS
                    if late or not (may_pass(error) or isinstance(error, _PASSING)):
                        self.problem = error
                        return
                else:
                    if time.monotonic() - since > PATIENCE_SECONDS:
                        self.problem = EvaluationFailed(
                            "Nothing has happened for a while. Look at the parties' pages."
                        )
                        return
                self._stop.wait(POLL_SECONDS)

    def _due(self) -> Due:
        state = self._client.state(self._client_id, self._token)
        stopped = state.stopped
        if stopped is not None:
            raise EvaluationFailed(
                "The server could not compute a result, or it was cancelled. Ask the server again "
                "on a party's page, then go on."
            )
        traffic = self._client.traffic(self._client_id, self._token).items
        return due(state, traffic, self._public, self.needless)

    def _take(self, now: Due, pool: ThreadPoolExecutor) -> None:
        """Have all parties that are to act do so at once; raises the first error of theirs."""

        def take(party: str) -> bool:
            return self._agents.take(party, self._client_id, _step(now.step), self.example)

        if now.step == REASONS and now.parties == tuple(self._public.schema_.party_names):
            # A reader of the decision knows whether reasons are needed, before anybody agrees.
            readers = self._client.state(self._client_id, self._token).readers
            first = next((name for name in now.parties if name in readers), now.parties[0])
            if not take(first):
                self.needless = True
                return
        if False in list(pool.map(take, now.parties)):
            self.needless = True


_PASSING = (OutOfStep, UnknownApplication)
"""Errors of an agent that is not as far as the server is, or that has not joined yet."""


def _step(name: str) -> StepName:
    steps: dict[str, StepName] = {
        SEND: "send",
        DECIDE: "decide",
        EXPLAIN: "explain",
        REASONS: "reasons",
    }
    return steps[name]
