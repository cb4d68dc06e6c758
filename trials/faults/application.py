"""One application of the trial with all its parties, from its opening to the checked results.

It continues despite faults: calls without a server are repeated, failed runs are requested again,
and damaged messages are sent again. It ends with its result, or with a typed error that one of the
faults explains; anything else breaks an invariant.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

from engines.interface import DECIDE
from trials.faults.calls import Answer, upload
from trials.faults.content import Content, Key, needed
from trials.permits import PermitKeys

if TYPE_CHECKING:
    from trials.faults.world import World

ROUNDS = 8
"""Number of attempts at a run that fails for explained reasons."""
DAMAGED = "stored-data-damaged"
_AGAIN = (DAMAGED, "run-cancelled", "evaluation-failed", "malformed-message")
_CRASHES = 2
"""Number of workers that must die during a job before the job fails."""
_GLANCE_SECONDS = 0.05


class Broken(Exception):
    """An invariant does not hold; the message names it and the observation."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant


class Ended(Exception):
    """The application ended with a typed error that a fault explains."""


@dataclass
class Application:
    """An application; `content` is what it sends, `answers` its results by program."""

    world: World
    client_id: str
    codes: dict[str, str] = field(repr=False)
    watch_token: str = field(repr=False)
    content: Content = field(repr=False)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    answers: dict[str, bytes] = field(default_factory=dict, repr=False)
    begun: float = field(default_factory=time.monotonic)
    keys: PermitKeys = field(default_factory=PermitKeys, repr=False)
    sent: dict[Key, str] = field(default_factory=dict)
    """SHA-256 of what the server holds in each slot."""

    @classmethod
    def open(cls, world: World, content: Content) -> Application:
        """Open an application; if the response is lost, another one is opened."""
        opened = require(world.caller.ask("POST", "/applications"), 201).json()
        world.keep_secret(opened["watch_token"], *opened["join_codes"].values())
        return cls(world, opened["client_id"], opened["join_codes"], opened["watch_token"], content)

    @classmethod
    def filled(cls, world: World, content: Content) -> Application:
        """Open an application, send everything that a decision needs, and permit it."""
        application = cls.open(world, content)
        application.join()
        for key in needed(world.contents.public):
            application.send(key)
        application.permit()
        return application

    @property
    def parties(self) -> list[str]:
        """The parties, in the schema's order."""
        return list(self.codes)

    @property
    def path(self) -> str:
        """The path of the application's calls."""
        return f"/applications/{self.client_id}"

    def join(self, parties: Sequence[str] = ()) -> None:
        """Join as `parties`, or as all parties if empty."""
        for party in parties or self.parties:
            key = self.keys.public(party)
            body = {"party": party, "code": self.codes[party], "permit_key": key}
            answer = self.world.caller.ask("POST", f"{self.path}/join", json=body)
            if not answer.good:
                # The code was used, but the token was lost with the connection.
                self.give_up(answer, explained=answer.cut and answer.code == "not-authorised")
            self.tokens[party] = answer.json()["token"]
            self.world.keep_secret(self.tokens[party])

    def send(self, key: Key, message: bytes | None = None) -> None:
        """Send a slot's message until it is accepted."""
        body = self.content.messages[key] if message is None else message
        for _ in range(ROUNDS):
            form = upload(self.client_id, key, body)
            answer = self.world.caller.ask("POST", "/send_file", self.tokens[key[0]], **form)
            if answer.good:
                self.sent[key] = hashlib.sha256(body).hexdigest()
                return
            if answer.code not in _AGAIN or not self._explained(answer.code):
                self.give_up(answer)
        raise Broken("no lost application", f"{key} was refused {ROUNDS} times")

    def speak(self, step: str, random: Random) -> None:
        """Post a message from every party to all, and check that they are relayed unchanged."""
        said = {party: random.randbytes(random.randint(1, 3000)) for party in self.parties}
        path = f"{self.path}/messages"
        for party, body in said.items():
            message = {"step": step, "receiver": None, "body": base64.b64encode(body).decode()}
            answer = self.world.caller.ask("POST", path, self.tokens[party], json=message)
            if not answer.good:
                self.give_up(answer)
        listener = random.choice(self.parties)
        answer = self.world.caller.ask("GET", path, self.tokens[listener], params={"after": 0})
        if not answer.good:
            self.give_up(answer)
        heard = {m["sender"]: m for m in answer.json()["messages"] if m["step"] == step}
        self.world.checked("no wrong answer")
        for party, body in said.items():
            if party in heard and base64.b64decode(heard[party]["body"]) != body:
                raise Broken("no wrong answer", f"a relayed message of {party} was altered")
        if set(heard) != set(said):
            raise Broken("no lost application", f"relayed messages are missing: {set(said)}")

    def permit(self, program: str = DECIDE) -> None:
        """Give a new permit of every party; whether it was accepted, the run shows."""
        found = self.keys.permits(self.world.contents.public, self.client_id, program, self.sent)
        if found:
            path = f"{self.path}/permits"
            self.world.caller.ask("POST", path, self._first, json={"permits": found})

    def ask(self, program: str = DECIDE) -> Answer:
        """Queue a run."""
        return self.world.caller.ask("POST", f"{self.path}/runs/{program}", self._first)

    def look(self, program: str = DECIDE) -> Any:
        """Return the state of a run."""
        answer = self.world.caller.ask("GET", f"{self.path}/runs/{program}", self._first)
        if not answer.good:
            self.give_up(answer)
        return answer.json()

    def cancel(self, program: str = DECIDE) -> Answer:
        """Cancel a run."""
        self.world.history.lasting("run-cancelled", client_id=self.client_id)
        return self.world.caller.ask("DELETE", f"{self.path}/runs/{program}", self._first)

    def run(self, program: str = DECIDE, waiting: bool = True) -> None:
        """Run a program, repeatedly if necessary, and check its result."""
        for _ in range(ROUNDS):
            self.permit(program)
            answer = self._result_of_run(program, waiting)
            if answer.good:
                answer = self.output(program)
                if answer.good:
                    return
                # The stored result is damaged, and a run is done only once: give up.
                self.give_up(answer)
            if answer.spent:
                continue
            if answer.code not in _AGAIN or not self._explained(answer.code):
                self.give_up(answer)
            if answer.code == DAMAGED:
                if self.answers:  # inputs of a finished run cannot be replaced
                    self.give_up(answer)
                for key in needed(self.world.contents.public, program):
                    self.send(key)
        raise Broken("no lost application", f"{program} failed {ROUNDS} times")

    def output(self, program: str = DECIDE, party: str | None = None) -> Answer:
        """Fetch a result and, if there is one, compare it exactly."""
        form = {"client_id": self.client_id, "program": program}
        token = self.tokens[party or self.parties[-1]]
        answer = self.world.caller.ask("POST", "/get_output", token, data=form)
        if answer.good:
            self.world.checked("no wrong answer")
            if not self.content.right(program, answer.body):
                raise Broken("no wrong answer", f"{program} of {self.client_id}")
            self.answers[program] = answer.body
        return answer

    def state(self) -> Any:
        """Return the state of the application."""
        answer = self.world.caller.ask("GET", self.path, self._first)
        if not answer.good:
            self.give_up(answer)
        return answer.json()

    def erase(self) -> Answer:
        """Erase the application; the caller checks the returned response."""
        self.world.history.lasting("unknown-application", client_id=self.client_id)
        answer = self.world.caller.ask("DELETE", self.path, self._first)
        if not answer.good and answer.code not in ("unknown-application", "application-expired"):
            self.give_up(answer)
        return answer

    @property
    def _first(self) -> str:
        return self.tokens[self.parties[0]]

    def _result_of_run(self, program: str, waiting: bool) -> Answer:
        if waiting:
            form = {"client_id": self.client_id, "program": program}
            return self.world.caller.ask("POST", "/run_fhe", self._first, data=form)
        answer = self.ask(program)
        while answer.good:
            state = self.look(program)
            if state["status"] == "done":
                return answer
            if state["status"] in ("failed", "cancelled"):
                return Answer(500, state["error_code"] or "", b"")
            time.sleep(_GLANCE_SECONDS)
        return answer

    def _explained(self, code: str) -> bool:
        least = _CRASHES if code == "evaluation-failed" else 1
        return self.world.history.explains(code, self.client_id, self.begun, least)

    def give_up(self, answer: Answer, explained: bool = False) -> NoReturn:
        """End with this response; raises Ended if a fault explains it, and Broken otherwise."""
        if explained or self._explained(answer.code):
            raise Ended(answer.code)
        raise Broken("no lost application", f"{answer} is not explained by any fault")


def require(answer: Answer, status: int) -> Answer:
    """Return the response, which must have this status; raises Broken."""
    if answer.status != status:
        raise Broken("no lost application", f"got {answer} instead of {status}")
    return answer
