"""A small client of the server's HTTP interface, one method a call.

Every answer is bounded in size, every wait in time, and every problem that the server reports is
raised as the class of utils/errors.py that it names. What may be asked twice is asked again for a
few seconds where the server is busy or the connection is lost (parties/retrying.py); opening and
joining are not, nor is erasing. Nothing here knows a key or a record.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from contract.http import (
    ApplicationState,
    Exchanged,
    Health,
    Joined,
    Opened,
    Posted,
    ProgramState,
    Receipt,
    RelayedMessages,
    Traffic,
)
from engines.interface import DECIDE, PublicModel
from parties.bounded_http import ANSWER_BYTES, MIB, BoundedHttp
from parties.file_body import FileBody
from parties.retrying import Told, ask_again, untold
from settings import Settings
from utils.errors import ForbiddenSlot, ServerUnreachable

CLIENT_FILES_BYTES = 64 * MIB
RESULT_BYTES = 64 * MIB
HEALTH_SECONDS = 5.0
SHORT_SECONDS = 30.0
"""What a small answer may take, beyond the time that it was asked to wait."""

_Answer = TypeVar("_Answer", bound=BaseModel)


Posting = tuple[str, str | None, bytes]
"""A message to be posted: its step, its receiver (None: all parties), its body."""


@dataclass(frozen=True)
class Waiting:
    """Conditions that end the wait of an exchange; `seconds` is its limit, at most 25.

    It ends when all messages of `until`, pairs of sender and step, are there, and the run of the
    program `until_ended` has ended; and `linger` seconds (at most 2) after anything else is new: a
    message, or a state whose tag is not `seen`. If nothing is named, it ends with the first news.
    """

    seconds: float = 0.0
    seen: str = ""
    until: Sequence[tuple[str, str]] = field(default=())
    until_ended: str | None = None
    linger: float = 0.0


class ServerClient(BoundedHttp):
    """The server at `url`; answers are awaited for at most `timeout` seconds.

    Every method raises ServerUnreachable where nothing (or no Triseal server) answers, and
    otherwise the error that the server reports. Safe to share between threads.
    """

    @classmethod
    def from_settings(cls, settings: Settings) -> ServerClient:
        """The server that the settings name."""
        return cls(settings.url, settings.request_timeout)

    def health(self) -> Health:
        """Return whether the server is up and its workers are warm.

        Raises what keeps the server from ever getting ready, such as DeploymentMissing.
        """
        with self._stream("GET", "/health", timeout=HEALTH_SECONDS) as response:
            body = self._body(response, ANSWER_BYTES)
            if response.status_code not in (200, 503) or "problem" in response.headers.get(
                "content-type", ""
            ):
                raise self._problem(response, body)
        return self._parse(Health, body)

    def model(self) -> PublicModel:
        """Return the public facts of the deployment that the server runs."""
        return self._answer(PublicModel, "GET", "/model")

    def client_files(self) -> bytes:
        """The zip archive of which a party's engine is made, not yet compared with its digest."""
        return self._bytes("GET", "/model/client", CLIENT_FILES_BYTES)

    def open_application(self, readers: Sequence[str] | None = None) -> Opened:
        """Open an application; the answer's join codes are secrets of the parties.

        `readers` are the parties that learn the answer, all where None.
        """
        more = {} if readers is None else {"json": {"readers": list(readers)}}
        return self._answer(Opened, "POST", "/applications", **more)

    def join(
        self, client_id: str, party: str, code: str, scopes: Sequence[str] | None = None
    ) -> Joined:
        """Join as `party` with its code, once; answers the party's bearer token.

        `scopes` are what the token may do, of send, run, read, relay and erase; all where None.
        """
        asked: dict[str, Any] = {"party": party, "code": code}
        if scopes is not None:
            asked["scopes"] = list(scopes)
        return self._answer(Joined, "POST", f"/applications/{client_id}/join", json=asked)

    def renew(self, client_id: str, token: str) -> Joined:
        """A new token in place of this one, which the server takes for a minute more.

        So an answer that is lost does no harm: the call may be made again with the old token.
        """
        return self._patient(Joined, "POST", f"/applications/{client_id}/token", token=token)

    def state(self, client_id: str, token: str) -> ApplicationState:
        """Where the application stands."""
        return self._patient(ApplicationState, "GET", f"/applications/{client_id}", token=token)

    def events(self, client_id: str, token: str, silence: float) -> Iterator[ApplicationState]:
        """The application's state at once and at each change, until it is gone.

        Ends as well after `silence` seconds without an event.
        """
        path = f"/applications/{client_id}/events"
        try:
            with self._stream("GET", path, token=token, timeout=silence) as response:
                if response.is_error:
                    raise self._problem(response, self._body(response, ANSWER_BYTES))
                for line in response.iter_lines():
                    if line.startswith("data:"):
                        yield self._parse(ApplicationState, line[5:].strip().encode())
        except ServerUnreachable as error:
            if not isinstance(error.__cause__, httpx.ReadTimeout):
                raise

    def post(self, client_id: str, token: str, step: str, receiver: str | None, body: bytes) -> int:
        """Give the server a message for `receiver` (None: all parties); answers its number.

        The same message again gets the same number.
        """
        message = {"step": step, "receiver": receiver, "body": base64.b64encode(body).decode()}
        path = f"/applications/{client_id}/messages"
        return self._patient(Posted, "POST", path, token=token, json=message).number

    def messages(
        self, client_id: str, token: str, after: int = 0, wait: float = 0.0, seen: str = ""
    ) -> RelayedMessages:
        """Messages with numbers above `after` that this token may read, and the state.

        Where there are none, the server answers after `wait` seconds (at most 25), or when the
        state's tag is no longer `seen`.
        """
        query: dict[str, str | int | float] = {"after": after, "wait": wait, "seen": seen}
        path = f"/applications/{client_id}/messages"
        more = {"params": query, "timeout": wait + SHORT_SECONDS}
        return self._patient(RelayedMessages, "GET", path, token=token, **more)

    def exchange(
        self,
        client_id: str,
        token: str,
        messages: Sequence[Posting] = (),
        after: int = 0,
        waiting: Waiting | None = None,
    ) -> Exchanged:
        """Post messages (at most 8), all or none, and return new ones with the state.

        New ones have numbers above `after`. A repeated call posts nothing twice. Returns at once
        unless `waiting` says otherwise.
        """
        waiting = waiting or Waiting()
        request = {
            "messages": [
                {"step": step, "receiver": receiver, "body": base64.b64encode(body).decode()}
                for step, receiver, body in messages
            ],
            "after": after,
            "wait": waiting.seconds,
            "seen": waiting.seen,
            "until": [{"sender": sender, "step": step} for sender, step in waiting.until],
            "until_ended": waiting.until_ended,
            "linger": waiting.linger,
        }
        path = f"/applications/{client_id}/exchange"
        more = {"json": request, "timeout": waiting.seconds + SHORT_SECONDS}
        found = self._patient(Exchanged, "POST", path, token=token, **more)
        if len(found.numbers) != len(messages):
            raise self._not_triseal()
        return found

    def traffic(self, client_id: str, token: str) -> Traffic:
        """Return the log of the application's messages so far, without content."""
        return self._patient(Traffic, "GET", f"/applications/{client_id}/traffic", token=token)

    def erase(self, client_id: str, token: str) -> None:
        """Erase the application and everything the server holds of it."""
        self._bytes("DELETE", f"/applications/{client_id}", ANSWER_BYTES, token=token)

    def send_file(
        self, client_id: str, party: str, file_name: str, message: bytes, token: str
    ) -> Receipt:
        """Put a sealed message into the slot `file_name` of the token's party, `party`.

        Raises ForbiddenSlot if the token belonged to another party, whose slot was then filled.
        """
        body = FileBody(message)
        path = f"/applications/{client_id}/slots/{quote(file_name, safe='')}"
        more = {"content": body, "headers": body.headers, "timeout": self.timeout}
        receipt = self._patient(Receipt, "PUT", path, token=token, **more)
        if receipt.client_type != party:
            raise ForbiddenSlot(
                f"The token belongs to {receipt.client_type}; it cannot fill {party}'s slots."
            )
        return receipt

    def queue(self, client_id: str, token: str, program: str = DECIDE) -> ProgramState:
        """Ask for a run of a program without waiting for it; one under way or done stays as it is.

        Raises QueueFull at once: whoever asks decides whether to wait.
        """
        path = f"/applications/{client_id}/runs/{program}"
        return self._answer(ProgramState, "POST", path, token=token, timeout=self._short)

    def program(self, client_id: str, token: str, program: str = DECIDE) -> ProgramState:
        """How far a program is."""
        path = f"/applications/{client_id}/runs/{program}"
        return self._patient(ProgramState, "GET", path, token=token)

    def cancel(self, client_id: str, token: str, program: str = DECIDE) -> ProgramState:
        """End a run that waits or is under way; any other is left as it is."""
        path = f"/applications/{client_id}/runs/{program}"
        return self._patient(ProgramState, "DELETE", path, token=token)

    def run(self, client_id: str, token: str, program: str = DECIDE, told: Told = untold) -> float:
        """Evaluate a program on the application; answers the seconds that it took.

        Asked again, the server answers for the run that is under way or done: so it is, for
        `timeout` seconds in all, where the server is busy or the connection is lost. Raises what
        the run failed with, and RunCancelled.
        """
        form = {"client_id": client_id, "program": program}
        since = time.monotonic()

        def ask() -> float:
            left = max(1.0, since + self.timeout - time.monotonic())
            body = self._bytes(
                "POST", "/run_fhe", ANSWER_BYTES, token=token, data=form, timeout=left
            )
            try:
                return float(body)
            except ValueError as error:
                raise self._not_triseal() from error

        return ask_again(ask, self.timeout, told, since)

    def get_output(self, client_id: str, token: str, program: str = DECIDE) -> bytes:
        """The sealed result of a program that has been run."""
        form = {"client_id": client_id, "program": program}
        return ask_again(
            lambda: self._bytes("POST", "/get_output", RESULT_BYTES, token=token, data=form)
        )

    @property
    def _short(self) -> float:
        return min(self.timeout, SHORT_SECONDS)

    def _patient(self, kind: type[_Answer], method: str, path: str, **options: Any) -> _Answer:
        """The answer to a call that may be made twice, within a short time unless it is given."""
        options.setdefault("timeout", self._short)
        return ask_again(lambda: self._answer(kind, method, path, **options))
