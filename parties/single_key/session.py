"""The parties' side of one application: keys, slices, run, decision, explanation.

A session plays one, some or all of the parties; the demonstration plays all. Its state is in the
parties' own files, so a session can be resumed by its client_id, and a step out of order is refused
before any request is made. It reads the schema only as data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any, Self

import numpy as np

from contract.http import ApplicationState, ProgramState
from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLAIN,
    EXPLANATION_INPUTS,
    REASONS,
    Progress,
    slot_of,
)
from features.encoding import Bits
from model.explanation import explain_scores
from model.referral import outcome_of
from parties.connection import Connection
from parties.exclusive import one_step
from parties.results import (
    SERVER,
    Decision,
    ExplanationOpened,
    KeysMade,
    Message,
    ProgramRun,
    ReasonsOpened,
    SliceSent,
    require_reasons,
)
from parties.run_follower import Tell, run_watched
from parties.single_key.membership import Membership
from parties.store import RECORD, SECRET_KEY
from utils.errors import (
    AlreadySent,
    ApplicationExpired,
    ForbiddenSlot,
    OutOfStep,
    UnknownApplication,
)

DECISION = "decision.json"
_ONLY_AFRESH = (AlreadySent, ApplicationExpired, UnknownApplication)
"""Errors of a server that mean that only a new application can accept the slice."""


class ApplicationSession:
    """The parties' side of one application; create it with `open`, `join` or `resume`.

    Steps of one application run one at a time, whatever threads and processes call them; other
    steps, `state` and `cancel` may be called while a run is waited for. `client_id` changes when a
    slice is replaced after the decision: see `send`. Besides the errors that it names, every method
    raises ServerUnreachable, the errors that the server reports, UnknownApplication if the files
    here have been erased, and DataFolderInUse if another process holds them for too long.
    """

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.connection = membership.connection
        self._public = membership.connection.public

    @classmethod
    def open(cls, connection: Connection, plays: Iterable[str] | None = None) -> Self:
        """Open an application and join it as the parties of `plays`, or as all parties if None."""
        return cls(Membership.open(connection, plays))

    @classmethod
    def join(cls, connection: Connection, client_id: str, codes: Mapping[str, str]) -> Self:
        """Join an application opened elsewhere, with join `codes` by party."""
        return cls(Membership.join(connection, client_id, codes))

    @classmethod
    def resume(cls, connection: Connection, client_id: str) -> Self:
        """Resume an application from the parties' files; raises UnknownApplication."""
        return cls(Membership.resume(connection, client_id))

    @property
    def client_id(self) -> str:
        return self.membership.client_id

    @property
    def plays(self) -> tuple[str, ...]:
        return self.membership.plays

    @property
    def key_holder(self) -> str:
        """The party that makes the keys: the one with a slot for the evaluation key."""
        for slot in self._public.slots:
            if slot.file_name == EVALUATION_KEY:
                return slot.party
        return self._public.schema_.party_names[0]

    def state(self) -> ApplicationState:
        """Return the application's state on the server."""
        return self.connection.client.state(self.client_id, self.membership.token())

    def make_keys(self) -> KeysMade:
        """Make the keys, send the evaluation key, give the secret key to the parties played here.

        Raises ForbiddenSlot if another party is the key holder, and AlreadySent if the application
        has keys: new keys need a new application, since every slice is encrypted under the old.
        """
        holder = self.key_holder
        if holder not in self.plays:
            raise ForbiddenSlot(f"{holder} makes the keys, and this process does not play it.")
        with self._step():
            return self._make_keys(holder)

    def _make_keys(self, holder: str) -> KeysMade:
        if self.membership.read(holder, SECRET_KEY) is not None:
            raise AlreadySent("This application has its keys. Start over to make new ones.")
        start = perf_counter()
        with self.connection.engine_lock:
            keys = self.connection.engine.make_keys()
        seconds = perf_counter() - start
        messages: list[Message] = []
        if slot_of(self._public.slots, holder, EVALUATION_KEY):
            messages.append(
                self.membership.send_slot(holder, EVALUATION_KEY, keys.evaluation, "evaluation key")
            )
        sent = messages[0].size if messages else 0
        self.membership.write(holder, SECRET_KEY, keys.secret)
        self.connection.store.hand_over(self.client_id, SECRET_KEY, holder, self.plays)
        # The stand-in engine's secret is empty: then no secret has been shared.
        others = tuple(p for p in self.plays if p != holder and keys.secret)
        messages += [Message(holder, p, "secret key", len(keys.secret), 0.0) for p in others]
        return KeysMade(
            self.client_id, holder, others, len(keys.secret), sent, seconds, tuple(messages)
        )

    def send(self, party: str, record: Mapping[str, Any]) -> SliceSent:
        """Encode, encrypt and send one party's record, a mapping of its columns to values.

        If the application has been decided (or has expired) and all parties are played here, a new
        one is opened with the same keys, and the other parties' messages are sent again. Raises
        UnknownParty, UnknownColumn, ValueOutOfDomain or OutOfStep before any request.
        """
        bits = self._encode(party, record)
        with self._step():
            return self._send(party, record, bits)

    def _send(self, party: str, record: Mapping[str, Any], bits: Bits) -> SliceSent:
        secret = self.membership.secret_key(party)
        start = perf_counter()
        with self.connection.engine_lock:
            sealed = {ENCRYPTED_INPUTS: self.connection.engine.encrypt(party, bits, secret)}
            if slot_of(self._public.slots, party, EXPLANATION_INPUTS):
                extra = self.connection.engine.encrypt_explanation(bits, secret)
                if extra is not None:
                    sealed[EXPLANATION_INPUTS] = extra
        encrypt_seconds = perf_counter() - start
        again: list[Message] = []
        if self.membership.ran(DECIDE) and self.membership.plays_all:
            self.membership, again = self.membership.start_afresh(party)
        try:
            sent = self._send_sealed(party, sealed)
        except _ONLY_AFRESH:
            if again or not self.membership.plays_all:
                raise
            self.membership, again = self.membership.start_afresh(party)
            sent = self._send_sealed(party, sealed)
        self.membership.write(party, RECORD, _json(record))
        return SliceSent(
            client_id=self.client_id,
            party=party,
            bits=len(bits),
            size=sum(m.size for m in sent),
            encrypt_seconds=encrypt_seconds,
            send_seconds=sum(m.seconds for m in sent),
            sha256=sent[0].sha256,
            preview=sent[0].preview,
            fresh=bool(again),
            messages=(*again, *sent),
        )

    def is_sent(self, party: str, record: Mapping[str, Any]) -> bool:
        """Return True if the party has sent a record with the same encoding as this one."""
        stored = self.membership.read(party, RECORD)
        if stored is None:
            return False
        return np.array_equal(self._encode(party, record), self._encode(party, json.loads(stored)))

    def run(
        self, program: str = DECIDE, progress: Progress | None = None, news: Tell | None = None
    ) -> ProgramRun:
        """Have the server evaluate a program, and wait for the end of the run.

        The parties played here permit it; one that is played elsewhere calls `permit` there. A run
        that is already under way is waited for, even if the server restarts meanwhile.
        `progress` and `news` are called from this thread. Raises OutOfStep that names the missing
        messages, RunCancelled, and the error that the run failed with.
        """
        with self._step():
            membership = self.membership
            missing = membership.missing(program)
            if missing:
                raise OutOfStep(f"The server cannot run {program} yet: {'; '.join(missing)}.")
        start = perf_counter()
        client, token = self.connection.client, membership.token()

        def queue() -> ProgramState:
            # Again for every attempt: permits are short-lived, and a failed run has used them up.
            with self._step(membership):
                membership.permit(program)
            return client.queue(membership.client_id, token, program)

        found = run_watched(client, membership.client_id, token, program, progress, news, queue)
        waited = perf_counter() - start
        with self._step(membership):
            membership.mark_ran(program, found.seconds or 0.0)
        asked = Message(self.plays[0], SERVER, f"run {program}", 0, waited)
        return ProgramRun.of(self.client_id, program, found, waited, (asked,))

    def permit(self, program: str = DECIDE) -> None:
        """Permit one run of the program, as every party played here, for five minutes.

        `run` does this by itself. Raises PartiesDisagree if the server holds other messages.
        """
        with self._step():
            self.membership.permit(program)

    def cancel(self, program: str = DECIDE) -> None:
        """Cancel a queued or running program; it can be run again."""
        self.connection.client.cancel(self.client_id, self.membership.token(), program)

    def open_decision(self) -> Decision:
        """Fetch and decrypt the decision; raises OutOfStep before the run."""
        with self._step():
            return self._open_decision()

    def _open_decision(self) -> Decision:
        if self.membership.plays_all and not self.membership.ran(DECIDE):
            raise OutOfStep(f"There is no decision to open yet: {self._next_step(DECIDE)}.")
        start = perf_counter()
        scores, fetched = self.membership.open_result(DECIDE, self._reader)
        seconds = perf_counter() - start
        facts = self._public.programs[DECIDE]
        score = scores[0]
        alone = facts.score_bits <= 1  # the program returns only the sign of the score
        self.membership.write(self.plays[0], DECISION, _json({"approved": score >= 0}))
        return Decision(
            client_id=self.client_id,
            approved=score >= 0,
            score=None if alone else score,
            log_odds=None if alone else score / facts.scale,
            reach=float(2 ** max(0, facts.score_bits - 1)),
            size=fetched.size,
            seconds=seconds,
            sha256=fetched.sha256,
            preview=fetched.preview,
            messages=(fetched,),
            referred=outcome_of(scores) == "referred",
        )

    def explain(
        self, progress: Progress | None = None, news: Tell | None = None
    ) -> ExplanationOpened:
        """Run and open the explanation, on the ciphertexts already sent.

        Raises OutOfStep before the decision is opened, and ForbiddenSlot if the explained column
        belongs to a party that is not played here.
        """
        owner = self._public.schema_.explained_party
        if owner not in self.plays:
            raise ForbiddenSlot(
                f"The explanation is about a column of {owner}: only {owner} can read it."
            )
        decision = self._required_decision("An explanation needs")
        run = self.run(EXPLAIN, progress, news)
        with self._step():
            return self._open_explanation(owner, decision, run)

    def _open_explanation(self, owner: str, decision: bytes, run: ProgramRun) -> ExplanationOpened:
        start = perf_counter()
        scores, fetched = self.membership.open_result(EXPLAIN, self._reader)
        seconds = perf_counter() - start
        record = json.loads(self.membership.read(owner, RECORD) or b"{}")
        explanation = explain_scores(
            self._public.schema_, record, json.loads(decision)["approved"], scores
        )
        messages = (*run.messages, fetched)
        return ExplanationOpened(
            self.client_id, explanation, run.seconds, fetched.size, seconds, messages
        )

    def reasons(self, progress: Progress | None = None, news: Tell | None = None) -> ReasonsOpened:
        """Run and open the reasons, on the ciphertexts already sent.

        Raises EngineUnavailable if the model states none, and OutOfStep before the decision is
        opened.
        """
        require_reasons(self._public)
        decision = self._required_decision("Reasons need")
        run = self.run(REASONS, progress, news)
        with self._step():
            start = perf_counter()
            values, fetched = self.membership.open_result(REASONS, self._reader)
            return ReasonsOpened.of(
                self._public.schema_,
                self.client_id,
                json.loads(decision)["approved"],
                values,
                (run.seconds, fetched.size, perf_counter() - start),
                (*run.messages, fetched),
            )

    def _required_decision(self, needs: str) -> bytes:
        """Return the file of the opened decision; raises OutOfStep, which begins with `needs`."""
        with self._step():
            decision = self.membership.read(self.plays[0], DECISION)
            if decision is None:
                ran = self.membership.ran(DECIDE)
                step = "open the decision" if ran else f"{self._next_step(DECIDE)}, then open it"
                raise OutOfStep(f"{needs} an opened decision: {step}.")
            return decision

    def erase(self) -> None:
        """Erase the application on the server and the parties' files of it here."""
        with self._step():
            self.membership.erase()

    def discard(self) -> None:
        """Erase the parties' files, and the application on the server if it can be reached.

        Does nothing if the files have already been erased.
        """
        with suppress(UnknownApplication), self._step():
            self.membership.discard()

    @contextmanager
    def _step(self, membership: Membership | None = None) -> Iterator[None]:
        """Lock the application's files against other threads and processes."""
        own = membership or self.membership
        with one_step(self.connection.store, own.client_id, own.plays):
            yield

    def _encode(self, party: str, record: Mapping[str, Any]) -> Bits:
        return self.connection.layout.encode_party(party, record)

    @property
    def _reader(self) -> str:
        return self.key_holder if self.key_holder in self.plays else self.plays[0]

    def _next_step(self, program: str) -> str:
        return "; ".join(self.membership.missing(program)) or "the server has to run it first"

    def _send_sealed(self, party: str, sealed: Mapping[str, bytes]) -> list[Message]:
        # Until every message has arrived, the party counts as having sent nothing.
        for name in (RECORD, *sealed):
            self.connection.store.remove(self.client_id, party, name)
        return [
            self.membership.send_slot(party, name, message, name.replace("_", " "))
            for name, message in sealed.items()
        ]


def _json(value: Mapping[str, Any]) -> bytes:
    # NumPy scalars from a caller's data frame become Python numbers.
    return json.dumps(dict(value), default=lambda item: item.item()).encode()
