"""A small client of the server's HTTP interface, with one method per call.

Every response is limited in size and every wait in time, and every problem that the server reports
is raised as its class of utils/errors.py. Calls that are safe to repeat are retried for a few
seconds if the server is busy or the connection is lost (parties/retrying.py); opening, joining and
erasing are not. The client stores no keys and handles no records.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from contract.http import (
    ApplicationState,
    Awaited,
    Exchanged,
    ExchangeRequest,
    Health,
    Joined,
    JoinRequest,
    MessageRequest,
    Opened,
    OpenRequest,
    PermitsRequest,
    Posted,
    ProgramForm,
    ProgramState,
    Receipt,
    RelayedMessages,
    Traffic,
    Witnesses,
)
from contract.reviews import Outcome, OutcomeRequest, ReviewRequest, ReviewState
from engines.interface import DECIDE, PublicModel
from governance.log.decision_file import LARGEST_FILE, DecisionFile
from parties.bounded_http import ANSWER_BYTES, MIB
from parties.file_body import FileBody
from parties.gateway_client import GatewayClient
from parties.retrying import Told, ask_again, untold
from parties.sessions_client import SHORT_SECONDS, SessionsClient
from parties.valid_requests import valid
from utils.errors import ForbiddenSlot, ServerUnreachable

CLIENT_FILES_BYTES = 64 * MIB
RESULT_BYTES = 64 * MIB
HEALTH_SECONDS = 5.0

Posting = tuple[str, str | None, bytes]
"""A message to post: its step, its receiver (None: all parties) and its body."""


@dataclass(frozen=True)
class Waiting:
    """Conditions that end the wait of an exchange; `seconds` is its limit, at most 25.

    The wait ends when all messages of `until`, pairs of sender and step, have arrived, all parties
    have filled their slots named `until_filled`, and the run of the program `until_ended` has
    ended, with the statements of all witnesses on its result. It also ends `linger` seconds (at
    most 2) after any other change: a message, or a state whose tag differs from `seen`; and at
    once if the party itself has posted a message by another call. With `with_result`, the response
    has the result of `until_ended`, if there is one by then and it is small enough.
    """

    seconds: float = 0.0
    seen: str = ""
    until: Sequence[tuple[str, str]] = field(default=())
    until_filled: str | None = None
    until_ended: str | None = None
    linger: float = 0.0
    with_result: bool = False


class ServerClient(SessionsClient, GatewayClient):
    """A client of the server at `url`, which waits at most `timeout` seconds for a response.

    Every method raises ServerUnreachable if no Triseal server responds, and otherwise the error
    that the server reports; InvalidRequest before the call if a value is outside the contract's
    bounds. Safe to share between threads.
    """

    def health(self) -> Health:
        """Return whether the server is up and its workers are warm.

        Raises the error that keeps the server from starting, such as DeploymentMissing.
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

    def witnesses(self) -> Witnesses:
        """Return the witnesses that check the results of new applications."""
        return self._answer(Witnesses, "GET", "/witnesses")

    def client_files(self) -> bytes:
        """Return the zip archive of a party's engine, not yet compared with its digest."""
        return self._bytes("GET", "/model/client", CLIENT_FILES_BYTES)

    def open_application(
        self,
        readers: Sequence[str] | None = None,
        explanation_readers: Sequence[str] | None = None,
        reasons_readers: Sequence[str] | None = None,
    ) -> Opened:
        """Open an application; the returned join codes are secrets of the parties.

        All of the server's witnesses check its results.

        `readers` are the parties that learn the decision, all parties if None, and
        `explanation_readers` those of them that learn the explanation; if None, the first party and
        the owner of the explained column. `reasons_readers` are those that learn the reasons for a
        denial; if None, the first party.
        """
        named = {
            "readers": readers,
            "explanation_readers": explanation_readers,
            "reasons_readers": reasons_readers,
        }
        given = {field: list(names) for field, names in named.items() if names is not None}
        if not given:
            return self._answer(Opened, "POST", "/applications")
        with valid():
            request = OpenRequest.model_validate(given)
        body = request.model_dump(exclude_none=True)
        return self._answer(Opened, "POST", "/applications", json=body)

    def join(
        self,
        client_id: str,
        party: str,
        code: str,
        scopes: Sequence[str] | None = None,
        permit_key: bytes | None = None,
        model_sha256: str | None = None,
    ) -> Joined:
        """Join as `party` with its code, which works once; return the party's bearer token.

        `scopes` limits the token to some of send, run, read, relay and erase; all if None.
        `permit_key` is the public key (Ed25519) that signs the party's permits. Raises
        ForeignMessage if `model_sha256` is not the digest of the server's model.
        """
        named = None if scopes is None else list(scopes)
        key = None if permit_key is None else permit_key.hex()
        with valid():
            request = JoinRequest(
                party=party, code=code, scopes=named, permit_key=key, model_sha256=model_sha256
            )
        body = request.model_dump(exclude_none=True)
        return self._answer(Joined, "POST", f"/applications/{client_id}/join", json=body)

    def renew(self, client_id: str, token: str) -> Joined:
        """Replace the token with a new one; the server accepts the old one for another minute.

        If the response is lost, the call can therefore be repeated with the old token.
        """
        return self._patient(Joined, "POST", f"/applications/{client_id}/token", token=token)

    def state(self, client_id: str, token: str) -> ApplicationState:
        """Return the application's state."""
        return self._patient(ApplicationState, "GET", f"/applications/{client_id}", token=token)

    def events(self, client_id: str, token: str, silence: float) -> Iterator[ApplicationState]:
        """Yield the application's state at once and at each change, until it is erased.

        Also ends after `silence` seconds without an event.
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
        """Post a message for `receiver` (None: all parties) and return its number.

        A repeated message keeps its number.
        """
        with valid():
            request = MessageRequest.of(step, receiver, body)
        path = f"/applications/{client_id}/messages"
        more = {"json": request.model_dump()}
        return self._patient(Posted, "POST", path, token=token, **more).number

    def messages(
        self, client_id: str, token: str, after: int = 0, wait: float = 0.0, seen: str = ""
    ) -> RelayedMessages:
        """Return messages numbered above `after` that this token may read, and the state.

        If there are none, the server waits for one for `wait` seconds (at most 25), or until the
        state's tag differs from `seen`.
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
        permits: Sequence[str] = (),
        receipts: Sequence[Mapping[str, Any]] = (),
        run: str | None = None,
    ) -> Exchanged:
        """Post messages, permits and receipts, at most 8 each, all or none; return new messages.

        New messages are those numbered above `after`. A repeated call posts nothing twice. Without
        `waiting`, the call returns at once. The program `run` is queued after the messages, unless
        it is active or done; such a call raises the errors of `queue` at once, without retrying.
        """
        waiting = waiting or Waiting()
        with valid():
            request = ExchangeRequest(
                messages=[MessageRequest.of(*message) for message in messages],
                after=after,
                wait=waiting.seconds,
                seen=waiting.seen,
                until=[Awaited(sender=sender, step=step) for sender, step in waiting.until],
                until_filled=waiting.until_filled,
                until_ended=waiting.until_ended,
                linger=waiting.linger,
                with_result=waiting.with_result,
                permits=list(permits),
                receipts=[dict(receipt) for receipt in receipts],
                run=run,
            )
        path = f"/applications/{client_id}/exchange"
        more = {"json": request.model_dump(), "timeout": waiting.seconds + SHORT_SECONDS}
        call = self._patient if run is None else self._answer
        found = call(Exchanged, "POST", path, token=token, **more)
        if len(found.numbers) != len(messages):
            raise self._not_triseal()
        return found

    def give_permits(
        self,
        client_id: str,
        token: str,
        permits: Sequence[str],
        receipts: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Give permits and receipts, of any parties of the application, all or none."""
        with valid():
            given = [dict(receipt) for receipt in receipts]
            body = PermitsRequest(permits=list(permits), receipts=given).model_dump()
        path = f"/applications/{client_id}/permits"
        self._bytes("POST", path, ANSWER_BYTES, token=token, json=body, timeout=self._short)

    def decision_file(self, client_id: str, token: str, program: str = DECIDE) -> DecisionFile:
        """Return the decision file of a program, which is not verified yet.

        Raises OutOfStep with advice as long as a part of it is missing.
        """
        path = f"/applications/{client_id}/decision-file"
        more = {"params": {"program": program}, "timeout": self._short}
        return DecisionFile.parse(self._bytes("GET", path, LARGEST_FILE, token=token, **more))

    def traffic(self, client_id: str, token: str) -> Traffic:
        """Return the log of the application's messages so far, without content."""
        return self._patient(Traffic, "GET", f"/applications/{client_id}/traffic", token=token)

    def review(self, client_id: str, token: str) -> ReviewState:
        """Return the review of the decision, for the applicant and the lender."""
        return self._patient(ReviewState, "GET", f"/applications/{client_id}/review", token=token)

    def ask_for_review(self, client_id: str, token: str, statement: str) -> ReviewState:
        """Ask for a review, with a sealed statement in base64; the applicant's call."""
        with valid():
            body = ReviewRequest(statement=statement).model_dump()
        path = f"/applications/{client_id}/review"
        return self._patient(ReviewState, "POST", path, token=token, json=body)

    def refer(self, client_id: str, token: str) -> ReviewState:
        """Open the review of a referred application; the call of the applicant or the lender."""
        path = f"/applications/{client_id}/review/referral"
        return self._patient(ReviewState, "POST", path, token=token)

    def take_review(self, client_id: str, token: str) -> ReviewState:
        """Begin the review; the lender's call."""
        path = f"/applications/{client_id}/review/take"
        return self._patient(ReviewState, "POST", path, token=token)

    def conclude_review(
        self, client_id: str, token: str, outcome: Outcome, words: str
    ) -> ReviewState:
        """Conclude the review with an outcome and sealed words; the lender's call."""
        with valid():
            body = OutcomeRequest(outcome=outcome, words=words).model_dump()
        path = f"/applications/{client_id}/review/outcome"
        return self._patient(ReviewState, "POST", path, token=token, json=body)

    def erase(self, client_id: str, token: str) -> None:
        """Erase the application and all of its data on the server."""
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
        """Queue a run of a program without waiting for it, unless one is active or done.

        Raises QueueFull at once, without retrying.
        """
        path = f"/applications/{client_id}/runs/{program}"
        return self._answer(ProgramState, "POST", path, token=token, timeout=self._short)

    def program(self, client_id: str, token: str, program: str = DECIDE) -> ProgramState:
        """Return the state of a program."""
        path = f"/applications/{client_id}/runs/{program}"
        return self._patient(ProgramState, "GET", path, token=token)

    def cancel(self, client_id: str, token: str, program: str = DECIDE) -> ProgramState:
        """Cancel a queued or active run; any other run is left unchanged."""
        path = f"/applications/{client_id}/runs/{program}"
        return self._patient(ProgramState, "DELETE", path, token=token)

    def run(self, client_id: str, token: str, program: str = DECIDE, told: Told = untold) -> float:
        """Run a program on the application and return the evaluation time in seconds.

        The call is repeated, for `timeout` seconds in all, if the server is busy or the connection
        is lost; a repeated call waits for the same run. Raises the error that the run failed with,
        and RunCancelled.
        """
        with valid():
            form = ProgramForm(client_id=client_id, program=program).model_dump()
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
        """Return the sealed result of a program that has been run."""
        with valid():
            form = ProgramForm(client_id=client_id, program=program).model_dump()
        return ask_again(
            lambda: self._bytes("POST", "/get_output", RESULT_BYTES, token=token, data=form)
        )
