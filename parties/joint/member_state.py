"""One party's state in one application: its protocol, the server's latest state, its files.

Not thread-safe: JointMember holds its lock around every call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from contract.http import (
    MAXIMUM_POSTED,
    ApplicationState,
    Exchanged,
    ProgramState,
    WitnessStatement,
)
from engines.interface import (
    CHALLENGE,
    DECIDE,
    ENCRYPTED_INPUTS,
    MASKED_BY,
    MASKED_OF,
    MASKS_OF,
    PROGRAMS,
    PUBLIC_KEY,
)
from features.encoding import Bits
from parties.client import ServerClient, Waiting
from parties.connection import Connection
from parties.expiry import Expiry, read_expiry, write_expiry
from parties.joint.asking import Asking
from parties.joint.files import IDENTITY, UPLOAD, Ended, Fetched, MemberFiles
from parties.joint.protocol import JointProtocol
from parties.joint.state import Outgoing
from parties.joint.token import MemberToken
from parties.results import (
    ALL,
    PREVIEW_BYTES,
    SERVER,
    Message,
    SliceSent,
    digest,
    preview,
)
from parties.retrying import may_pass
from parties.single_key.slots import send_slot
from parties.store import REVIEW_KEY, SECRET_KEY
from utils.errors import (
    AlreadyRunning,
    ConsentMissing,
    IdentityMismatch,
    MalformedMessage,
    OutOfStep,
    PartiesDisagree,
    ResultNotWitnessed,
    TrisealError,
    error_classes,
)

RECORD_UPLOAD = "encrypted inputs"
"""The upload of an encrypted record, in the log."""
PERMIT_AGE_SECONDS = 90.0
"""Age from which a permit is replaced while the run has not begun; it is valid for 300 seconds."""
LINGER_SECONDS = 1.0
"""Time for which the server waits for the remaining news after any other change."""
REFUSALS = {
    "other_model": "it holds another program than the server",
    "messages_refused": "it cannot evaluate the messages that the server gave it",
    "result_differs": "the program gives another result on the parties' records",
}
"""Why a witness does not sign, in words, by the refusals of the contract."""


@dataclass(frozen=True)
class Request:
    """The request of one exchange, and the member's knowledge when it was built."""

    token: str
    messages: tuple[Outgoing, ...]
    after: int
    looks: int
    permitted: Mapping[str, str] = field(default_factory=dict)
    """This party's new permits, by program."""
    consents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """This party's receipts that the server lacks, by program."""
    waiting: Waiting = field(default_factory=Waiting)
    run: str | None = None
    """The program to run, if it is this party's turn to request it."""

    def send(self, client: ServerClient, client_id: str) -> Exchanged:
        """Send the request; returns the server's response."""
        return client.exchange(
            client_id,
            self.token,
            [(message.step, message.receiver, message.body) for message in self.messages],
            self.after,
            self.waiting,
            list(self.permitted.values()),
            list(self.consents.values()),
            self.run,
        )


class MemberState:
    """One party's steps in one application."""

    def __init__(
        self,
        connection: Connection,
        client_id: str,
        party: str,
        files: MemberFiles,
        protocol: JointProtocol,
    ) -> None:
        self.client_id, self.party = client_id, party
        self.files, self.protocol = files, protocol
        self.remembered = files.member()
        self.state: ApplicationState | None = None
        self.looks = 0
        """Number of times that the state was updated while the lock was held."""
        self.given = 0
        """Number of messages, uploads and requests that this party has sent to the server."""
        self.tag = ""
        self._connection, self._client = connection, connection.client
        self._names = tuple(connection.public.schema_.party_names)
        self._gave_key = False
        self._review_key = False
        self._permitted: dict[str, float] = {}
        """When the server got this party's newest permit, by program (monotonic)."""
        self.withheld: Callable[[], bool] = lambda: False
        """Returns True as long as this party gives no permits, whatever it has agreed to."""
        self._results: dict[str, bytes] = {}
        """Results that came with an exchange and are not in the folder yet, by program."""
        self._receipted: set[str] = set()
        """The programs of which this process has given the server this party's receipt."""
        self._token = MemberToken(self._client, client_id, files, self.remembered)
        self._asking = Asking(party, self._names)
        stored = read_expiry(connection.store, client_id, party)
        self._expiry = stored or Expiry(joined=time.time())
        self._deadline = time.monotonic() + self._kept_seconds()
        if stored is None:
            self._keep_expiry()
        self._erase_used_keys()
        self.save()

    @property
    def token(self) -> str:
        """This party's bearer token."""
        return self._token.text

    def keep_token(self) -> float:
        """Renew the token if it is time; see MemberToken.keep."""
        return self._token.keep(self.state)

    def save(self) -> None:
        """Write the state to the files; called before anything that depends on it is sent."""
        self.files.save(self.protocol, self.remembered)

    @property
    def ended(self) -> TrisealError | None:
        """The error that ended the application for this party, or None."""
        why = self.remembered.ended
        return None if why is None else error_classes().get(why.code, TrisealError)(why.message)

    def require_going_on(self) -> None:
        """Raise the error that ended the application for this party, if there is one.

        Messages sealed before that are still sent; without them the other parties would wait
        forever instead of finding the same error.
        """
        if (error := self.ended) is not None:
            with suppress(TrisealError):
                self._deliver()
            raise error

    def end(self, error: TrisealError) -> None:
        """End the application for this party because of a permanent error; erase the keys.

        Results opened before are kept.
        """
        if self.remembered.ended is None:
            self.remembered.ended = Ended(code=error.code, message=error.message)
            self.save()
        self.protocol.forget_keys()
        for name in (SECRET_KEY, IDENTITY, UPLOAD):
            self.files.remove(name)
        with suppress(TrisealError):
            self._deliver()

    def end_if_broken(self, error: TrisealError) -> None:
        """End the application if the error refused content that another party signed."""
        if self.protocol.broken:
            self.end(error)

    def end_if_not_pinned(self) -> None:
        """End the application if a hello was accepted before another key was pinned."""
        try:
            self.protocol.require_pinned()
        except IdentityMismatch as error:
            self.end(error)

    def end_if_gone(self, error: TrisealError) -> None:
        """End the application if the error came from the server at which the party joined."""
        if self.remembered.server == self._client.url:
            self.end(error)

    def seconds_left(self) -> float:
        """Return the seconds for which this party still keeps the application's files."""
        # The monotonic clock too, since the system clock may be set back.
        return min(self._kept_seconds(), self._deadline - time.monotonic())

    def note(self, state: ApplicationState) -> None:
        """Store the state that the server reported, and its end time in the folder."""
        self.state = state
        expiry = self._expiry.as_told(state.created_at, state.expires_at, state.review != "none")
        if expiry != self._expiry:
            self._expiry = expiry
            self._keep_expiry()

    def _kept_seconds(self) -> float:
        return self._expiry.seconds_left(time.time(), self._connection.hours)

    def _keep_expiry(self) -> None:
        write_expiry(self._connection.store, self.client_id, self.party, self._expiry)
        self._deadline = time.monotonic() + self._kept_seconds()

    def _keep_review_key(self) -> None:
        """Keep the key of the texts of a review, once this party's part of the decision is given.

        The applicant and the lender have such a key.
        """
        schema = self._connection.public.schema_
        pair = [schema.party_names[0], schema.lender.name]
        given = self.protocol.confirmed(self._connection.public.final(DECIDE)) is not None
        if self._review_key or self.party not in pair or not given or pair[0] == pair[1]:
            return
        if self.files.read(REVIEW_KEY) is None:
            other = pair[1] if self.party == pair[0] else pair[0]
            with suppress(OutOfStep):  # an earlier version has erased the keys already
                self.files.write(REVIEW_KEY, self.protocol.review_key(other))
        self._review_key = True

    def _erase_used_keys(self) -> None:
        """Erase keys that are no longer needed.

        The secret is erased once this party's share of the last opening is sealed and stored; the
        channel keys once all shares are delivered and, for a reader, all scores are opened.
        """
        self._keep_review_key()
        if not self.protocol.last_part_given:
            return
        if self.protocol.secret:
            self.save()  # without its share, a party without its secret could never go on
            self.protocol.forget_secret()
            self.files.remove(SECRET_KEY)
        public = self._connection.public
        finals = [program for program in public.programs if not public.masked(program)]
        read = [p for p in finals if self.party in self.protocol.readers_of(p)]
        if not self.protocol.pending() and all(p in self.remembered.scores for p in read):
            self.protocol.forget_keys()
            self.files.remove(IDENTITY)

    def act(self, answer: bool) -> bool:
        """Send the public key and the record, open results and read scores, as far as they are due.

        Return True if anything was done. If `answer` is False, no result is opened; otherwise
        `state` must be up to date.
        """
        self.require_going_on()
        acted = self._give_public_key()
        acted |= self._give_record()
        acted |= self._give_masks_ahead()
        for program in self._connection.public.programs:
            if answer and self._may_open(program):
                self.open(program)
                acted = True
            acted |= self._give_challenge(program)
            if self._connection.public.masked(program):
                acted |= self._give_masked(program)
            else:
                acted |= self._read(program)
        self._erase_used_keys()
        return acted

    def _may_open_any(self) -> bool:
        """Return True if there is a result that this party has agreed to open."""
        return any(self._may_open(program) for program in self._connection.public.programs)

    def request(self, waiting: Waiting | None = None, run: str | None = None) -> Request:
        """Return the request of the next exchange, after saving the state that it depends on."""
        pending = self.protocol.pending()
        if pending:
            self.save()
        messages = tuple(pending[:MAXIMUM_POSTED])
        permits = {program: self.protocol.permit(program, time.time()) for program in self._due()}
        receipts = self._receipts(permits)
        after, looks = self.remembered.cursor, self.looks
        waiting = waiting or Waiting()
        return Request(self.token, messages, after, looks, permits, receipts, waiting, run)

    def next_request(self, wait: float, answer: bool) -> Request:
        """Return the request of an exchange that waits up to `wait` seconds.

        It does not wait if this party has to act first. If `answer` is False, no result is opened.
        """
        run = self.due_run()
        if answer and self._may_open_any():
            wait = 0.0
        elif run is None:
            wait = max(0.0, min(wait, self._asking.seconds(self.state, self._ready())))
        return self.request(self._waiting(wait, run), run)

    def _receipts(self, programs: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Return this party's receipts for the programs, without those that the server has."""
        found = {p: self.files.consent(p) for p in programs if p not in self._receipted}
        return {program: kept.receipt for program, kept in found.items() if kept is not None}

    def permits_runs(self) -> list[str]:
        """Return the programs that this party has agreed to and that have not begun to run."""
        if self.remembered.ended is not None:
            return []
        return [
            program
            for program in PROGRAMS
            if self.party in self.protocol.agreements(program)
            and self.protocol.confirmed(program) is None
            and not (self.state and self._has_begun(self.state.programs[program]))
        ]

    def _has_begun(self, run: ProgramState) -> bool:
        return run.under_way or run.status == "done"

    def _due(self) -> list[str]:
        """Return the programs for which the server needs a new permit of this party."""
        if self.withheld():
            return []
        oldest = time.monotonic() - PERMIT_AGE_SECONDS
        return [
            program
            for program in self.permits_runs()
            if self._permitted.get(program, -math.inf) < oldest
            or (self.state and self.party in self.state.unpermitted.get(program, ()))
        ]

    def unpermitted(self) -> tuple[str, ...]:
        """Return the other parties without a permit for a run that all have agreed to."""
        lacking = {} if self.state is None else self.state.unpermitted
        found = {name for program in self._agreed() for name in lacking.get(program, ())}
        return tuple(name for name in self._names if name in found and name != self.party)

    def _waiting(self, seconds: float, run: str | None) -> Waiting:
        """Return the conditions that an exchange waits for which requests the program `run`."""
        ended = run or next((p for p in self._coming_runs() if self._awaits_run(p)), None)
        return Waiting(
            seconds,
            self.tag,
            self.protocol.expected(),
            ENCRYPTED_INPUTS if self._awaits_records() else None,
            ended,
            LINGER_SECONDS,
            ended is not None and ended not in self._results,
        )

    @property
    def has_the_next_step(self) -> bool:
        """True if nothing is to be done or awaited until this party's person acts."""
        if self.state is None or self.protocol.pending() or self._may_open_any():
            return False
        awaited = self._waiting(0.0, self.due_run())
        return not (awaited.until or awaited.until_filled or awaited.until_ended)

    @property
    def records_arrived(self) -> bool:
        """True if the server holds all parties' encrypted records."""
        state = self.state
        return state is not None and all(state.sha256_of(n, ENCRYPTED_INPUTS) for n in self._names)

    def _awaits_records(self) -> bool:
        """Return True if this party has sent its record, and another party has not."""
        return self.upload is not None and not self.records_arrived

    def _coming_runs(self) -> list[str]:
        """Return the programs whose runs this party can wait for.

        The first party requests the runs itself as soon as the messages before them have arrived.
        """
        if self.party == self._names[0]:
            return self._agreed()
        programs = self._connection.public.programs
        return [p for p in programs if self.protocol.agrees(p, self.party)]

    def _awaits_run(self, program: str) -> bool:
        if self.state is None or self.protocol.opened(program) is not None:
            return False
        found = self.state.programs[program]
        if found.status == "done":
            return any(key not in found.statements for key in self.protocol.witnesses)
        return not found.stopped

    def exchange(self) -> None:
        """Send pending messages and process new ones, without waiting; see `take`."""
        while True:
            self.take(*self._exchanged())
            if not self.protocol.pending():
                return

    def _send(self) -> None:
        """Do the same as `exchange`, but leave the errors of refused messages to `advance`."""
        while self.protocol.pending():
            found = self._exchanged()
            with suppress(TrisealError):
                self.take(*found)

    def _exchanged(self) -> tuple[Exchanged, Request, float]:
        request, start = self.request(), perf_counter()
        found = request.send(self._client, self.client_id)
        self.looks += 1  # a response on its way to another thread is older
        request = replace(request, looks=self.looks)
        return found, request, perf_counter() - start

    def take(self, found: Exchanged, request: Request, seconds: float = 0.0) -> bool:
        """Process the response of an exchange that took `seconds`; return True if anything is new.

        A refused message raises its error and is fetched again by the next exchange.
        """
        changed = bool(request.messages or request.permitted or request.run)
        self._note_posted(request.messages, seconds)
        self._note_run(request.run, seconds)
        self.given += len(request.permitted)
        self._permitted |= dict.fromkeys(request.permitted, time.monotonic())
        self._receipted |= request.permitted.keys()
        if request.looks == self.looks:  # otherwise a newer state is known already
            changed |= self.tag != found.tag
            self.note(found.state)
            self.tag = found.tag
        if request.waiting.until_ended and found.result:
            self._results[request.waiting.until_ended] = found.result
        try:
            for message in found.messages:
                if message.number <= self.remembered.cursor:
                    continue  # another thread has processed it
                place = (message.sender, message.step, message.receiver)
                with self._connection.engine_lock:
                    new = self.protocol.receive(*place, message.body)
                self.remembered.cursor = message.number
                changed = True
                if new:
                    to = message.receiver or ALL
                    self._log(message.sender, to, message.step, message.body, 0.0)
            self.remembered.cursor = max(self.remembered.cursor, found.after)
        finally:
            self.save()
        return changed

    def _note_posted(self, messages: tuple[Outgoing, ...], seconds: float) -> None:
        for message in self.protocol.mark_posted(messages):
            self.given += 1
            self._log(self.party, message.receiver or ALL, message.step, message.body, seconds)

    def send_record(self, record: Mapping[str, Any]) -> SliceSent:
        """Encrypt a record and commit to it; it is sent once all parties have committed to theirs.

        The commitment is final; see JointProtocol.commit_record. The same record again, before any
        agreement, changes nothing. If the server cannot be reached now, the next `advance` sends
        what is due, unless the masks, which the commitment names, could not be sent before.
        """
        self.require_going_on()
        bits = self._connection.layout.encode_party(self.party, record)
        if self._has_committed_to(bits):
            self.exchange()
        else:
            self._encrypt(record, bits)
        start = perf_counter()
        try:
            self._send()
            self._give_record()
        except TrisealError as error:
            if not may_pass(error):
                raise
        return self._sent(len(bits), perf_counter() - start)

    def _has_committed_to(self, bits: Bits) -> bool:
        """Return True if this party has committed to a record of these bits, and none has agreed.

        Raises OutOfStep before the keys are ready, and AlreadySent if it can send no record.
        """
        kept = self.files.record() if self.protocol.has_committed else None
        if kept is not None and not self.protocol.agreements(DECIDE):
            own = self._connection.layout.encode_party(self.party, kept)
            if np.array_equal(own, bits):
                return True
        self.protocol.require_uncommitted()
        return False

    def _encrypt(self, record: Mapping[str, Any], bits: Bits) -> None:
        """Encrypt a record into the folder, and commit to it and to the masks of the decision."""
        masks = self._give_masks(DECIDE)  # sent already, unless the server could not be reached
        start = perf_counter()
        with self._connection.engine_lock:
            sealed = self._connection.joint_engine.encrypt(
                self.party, bits, self.protocol.public_key
            )
        self.remembered.encrypt_seconds = perf_counter() - start
        self.files.write(UPLOAD, sealed)  # before the commitment, which refers to it
        self.files.keep_record(record)
        self.protocol.commit_record(digest(sealed), masks)
        self.save()

    def _sent(self, bits: int, seconds: float) -> SliceSent:
        """Return the facts about this party's record; its commitment took `seconds`."""
        upload, sealed = self.upload, b""
        if upload is None:
            sealed = self.files.read(UPLOAD) or b""
        return SliceSent(
            client_id=self.client_id,
            party=self.party,
            bits=bits,
            size=len(sealed) if upload is None else upload.size,
            encrypt_seconds=self.remembered.encrypt_seconds,
            send_seconds=seconds if upload is None else upload.seconds,
            sha256=self.protocol.committed()[self.party],
            preview=preview(sealed) if upload is None else upload.preview,
            fresh=False,
            messages=(),
            waits=upload is None,
        )

    def _give_record(self) -> bool:
        """Send the encrypted record that was committed to, once all parties have committed.

        Raises MalformedMessage if the file of the record is damaged.
        """
        sealed = self.files.read(UPLOAD) if self.protocol.all_committed else None
        if sealed is None:
            return False
        if digest(sealed) != self.protocol.committed()[self.party]:
            raise MalformedMessage(
                f"The file {UPLOAD} of {self.party} is damaged; open a new application."
            )
        self._fill(ENCRYPTED_INPUTS, sealed, RECORD_UPLOAD)
        self.save()
        self.files.remove(UPLOAD)
        return True

    @property
    def upload(self) -> Message | None:
        """The upload of this party's encrypted record, or None before it has arrived."""
        return self._sent_as(RECORD_UPLOAD)

    def _sent_as(self, what: str) -> Message | None:
        """Return this party's first message or upload with this name in the log, or None."""
        own = (e for e in self.remembered.events if (e.sender, e.what) == (self.party, what))
        return next(own, None)

    def _note_run(self, program: str | None, seconds: float) -> None:
        if program is not None:
            what = f"run {program}"
            self.remembered.events.append(Message(self.party, SERVER, what, 0, seconds))
            self.given += 1

    def agree(self, program: str) -> None:
        """Agree to the records committed to, which the server must hold now."""
        self.require_going_on()
        key = self.protocol.public_key
        self._give_record()
        first = self._names[0]
        state = self.state
        if state is None or not all(state.sha256_of(n, ENCRYPTED_INPUTS) for n in self._names):
            state = self._look()
        sealed = self._connection.joint_engine.seal_public_key(first, key)
        held = {party: state.sha256_of(party, ENCRYPTED_INPUTS) for party in self._names}
        inputs = {party: sha256 for party, sha256 in held.items() if sha256 is not None}
        committed = self.protocol.committed()
        missing = [party for party in self._names if party not in committed]
        missing = missing or [party for party in self._names if party not in inputs]
        held_key = state.sha256_of(first, PUBLIC_KEY)
        if missing or held_key is None:
            raise OutOfStep(
                f"There is nothing to agree to yet; still to be sent: "
                f"{', '.join(missing) or 'the public key'}."
            )
        differing = [party for party in self._names if inputs[party] != committed[party]]
        if differing:
            raise PartiesDisagree(
                f"The server holds a different record of {', '.join(differing)} than was committed "
                "to. Nothing is opened; open a new application."
            )
        if held_key != digest(sealed):
            raise PartiesDisagree(
                "The server holds a different public key than the parties made. Open a new "
                "application."
            )
        self.protocol.require_time_to_agree(program)  # before the masks are sent
        self.protocol.agree(program, inputs, self._give_masks(program))
        self._consent(program)
        self._send()

    def _consent(self, program: str) -> None:
        """Sign the receipt of this party's agreement, once, before any permit leaves."""
        if self.files.consent(program) is None:
            now = time.time()
            ends = now + self.seconds_left()
            consent = self.protocol.consent(program, self._connection.hours, ends, now)
            self.files.keep_consent(program, consent)

    def _give_masks(self, program: str) -> str | None:
        """Send this party's encrypted masks of a masked program; return their SHA-256, or None."""
        if not self._connection.public.masked(program):
            return None
        sent = self._masks_sent(program)
        if sent is not None:
            return sent
        with self._connection.engine_lock:
            sealed = self._connection.joint_engine.encrypt_masks(
                program, self.party, self.protocol.public_key, self.protocol.secret
            )
        made = self._fill(MASKS_OF[program], sealed, _masks_upload(program))
        self.save()
        return made.sha256

    def _give_masks_ahead(self) -> bool:
        """Send the masks of the decision once there is a key, so that nobody waits for them later.

        They are random and independent of the records.
        """
        ready = self.protocol.ready and bool(self.protocol.secret)
        if not ready or not self._connection.public.masked(DECIDE) or self._masks_sent(DECIDE):
            return False
        self._give_masks(DECIDE)
        return True

    def _masks_sent(self, program: str) -> str | None:
        """Return the SHA-256 of the masks that this party has sent, or None."""
        sent = self._sent_as(_masks_upload(program))
        return None if sent is None else sent.sha256

    def _give_challenge(self, program: str) -> bool:
        """Send the server the challenge of the decision's check, as first party."""
        state, first = self.state, self._names[0]
        due = program == DECIDE and self._connection.public.checked and self.party == first
        if not due or state is None or not self.protocol.agreed(program):
            return False
        if state.sha256_of(first, CHALLENGE) is not None:
            return False
        with self._connection.engine_lock:
            sealed = self.protocol.challenge()
        self._fill(CHALLENGE, sealed, "challenge")
        return True

    def _give_masked(self, program: str) -> bool:
        """Send the server the masked scores once all shares of them are there, as first party.

        Every party computes them, to compare their digest with the server's before it opens the
        signs.
        """
        known, state = self.protocol.masked_sha256(program), self.state
        if state is None or self.protocol.opened(program) is None:
            return False
        first = self.party == self._names[0]
        sent = not first or state.sha256_of(self.party, MASKED_OF[program]) is not None
        if known is not None and sent:
            return False
        with self._connection.engine_lock:
            sealed = self.protocol.masked_scores(program, self._result(program))
        if sealed is None:
            return False
        self.save()
        if not sent:
            self._fill(MASKED_OF[program], sealed, "masked scores")
        return True

    def due_run(self) -> str | None:
        """Return the program that it is this party's turn to request; see Asking."""
        return self._asking.due(self.state, self._ready(), False)

    def not_queued(self, error: TrisealError) -> None:
        """Fetch the state after the server has refused to queue a run, unless the error stays.

        A permit has expired meanwhile, and its party replaces it; or another party has requested
        another program, and this one comes after it.
        """
        if not isinstance(error, ConsentMissing | AlreadyRunning):
            raise error
        self._look()

    def run_again(self) -> str | None:
        """Request the agreed run, even one that stopped; return its program, or None.

        Raises the errors of ServerClient.queue, among them ConsentMissing.
        """
        self.require_going_on()
        if self._due():
            found = self._exchanged()
            with suppress(TrisealError):  # the next `advance` raises it again
                self.take(*found)
        program = self._asking.due(self.state, self._ready(permitted=False), True)
        if program is None:
            return None
        start = perf_counter()
        run = self._client.queue(self.client_id, self.token, program)
        self._note_run(program, perf_counter() - start)
        self.looks += 1
        if self.state is not None:
            self.state = self.state.with_program(program, run)
        return program

    def cancel(self, program: str) -> None:
        """Cancel a queued or active run, and fetch the new state."""
        self._client.cancel(self.client_id, self.token, program)
        self._look()

    def _agreed(self) -> list[str]:
        return [p for p in self._connection.public.programs if self.protocol.agreed(p)]

    def _ready(self, permitted: bool = True) -> list[str]:
        """Return the programs that all have agreed to and that lack no message or permit."""
        if self.state is None:
            return self._agreed()
        lacking = self.state.unpermitted if permitted else {}
        return [
            program
            for program in self._agreed()
            if not self.state.missing.get(program) and not lacking.get(program)
        ]

    def _look(self) -> ApplicationState:
        """Fetch and return the application's current state."""
        state = self._client.state(self.client_id, self.token)
        self.looks += 1
        self.note(state)
        return state

    def open(self, program: str) -> None:
        """Fetch and confirm a result; make this party's share of it once all have confirmed it.

        Raises OutOfStep before the agreed run, PartiesDisagree if it was run on other inputs,
        AlreadyOpened if this party has confirmed another result, and ResultNotWitnessed, which ends
        the application for this party.
        """
        state = self.state
        if (
            state is None
            or not self.protocol.agreed(program)
            or state.programs[program].status != "done"
        ):
            raise OutOfStep(f"There is no result yet of a run of {program} that all agreed to.")
        for (party, file_name), sha256 in self.protocol.agreed_files(program).items():
            if state.sha256_of(party, file_name) != sha256:
                item = "record" if file_name == ENCRYPTED_INPUTS else file_name
                raise PartiesDisagree(
                    f"{program} was run on a different {item} of {party} than was agreed to. Its "
                    "result is not opened; open a new application."
                )
        came, start = program in self._results, perf_counter()
        result = self._result(program)
        seconds = 0.0 if came else perf_counter() - start
        first = self.protocol.confirmed(program) is None
        try:
            signatures = self._signatures(program, state.programs[program])
            with self._connection.engine_lock:
                self.protocol.open(program, result, signatures)
        except ResultNotWitnessed as error:
            self.end(error)
            raise
        if first:
            # Before the state, which refers to it once it says confirmed, and may be all that is
            # written before the process is killed.
            self.files.write(f"{program}.result", result)
            self._results.pop(program, None)
            self._note_fetched(program, result, seconds)
            self.files.keep_member(self.remembered)
            self.save()

    def _note_fetched(self, program: str, result: bytes, seconds: float) -> None:
        if program in self.remembered.results:  # the process was killed before it confirmed
            return
        what, shown = f"encrypted result of {program}", preview(result)
        fetched = Message(SERVER, self.party, what, len(result), seconds, digest(result), shown)
        self.remembered.events.append(fetched)
        self.remembered.results[program] = Fetched(
            size=len(result), seconds=seconds, sha256=fetched.sha256, preview=shown
        )

    def _result(self, program: str) -> bytes:
        """Return the program's result: this party's copy, or else that of the server."""
        kept = self.files.read(f"{program}.result") or self._results.get(program)
        if kept is None:
            return self._client.get_output(self.client_id, self.token, program)
        return kept

    def _signatures(self, program: str, run: ProgramState) -> dict[str, bytes]:
        """Return the witnesses' signatures, by key; raises ResultNotWitnessed if one refused."""
        found: dict[str, bytes] = {}
        for key, name in self.protocol.witnesses.items():
            said = run.statements.get(key, WitnessStatement())
            if said.refusal is not None:
                raise ResultNotWitnessed(
                    f"The witness {name} refused to sign the result of {program}: "
                    f"{REFUSALS.get(said.refusal, said.refusal)}. Nothing was opened. Open a new "
                    f"application, and ask {name} for the cause."
                )
            with suppress(ValueError):  # an invalid signature is as good as none
                found[key] = bytes.fromhex(said.signature or "")
        return found

    def awaited_witnesses(self) -> tuple[str, ...]:
        """Return the names of the witnesses that have to sign a result before it is opened."""
        return tuple(
            dict.fromkeys(
                name
                for program in self._connection.public.programs
                if self._is_due(program)
                for name in self._unheard(program)
            )
        )

    def _may_open(self, program: str) -> bool:
        return self._is_due(program) and not self._unheard(program)

    def _is_due(self, program: str) -> bool:
        masked = MASKED_BY.get(program)
        if masked is not None and self.protocol.masked_sha256(masked) is None:
            return False
        return (
            self.state is not None
            and self.state.programs[program].status == "done"
            and self.protocol.opened(program) is None
            and self.protocol.agreed(program)
            and (self.protocol.confirmed(program) is None or self.protocol.all_confirmed(program))
        )

    def _unheard(self, program: str) -> list[str]:
        """Return the witnesses without a statement, unless one has refused already."""
        said = {} if self.state is None else self.state.programs[program].statements
        if any(s.refusal is not None for k, s in said.items() if k in self.protocol.witnesses):
            return []
        return [name for key, name in self.protocol.witnesses.items() if key not in said]

    def _read(self, program: str) -> bool:
        if program in self.remembered.scores or self.protocol.opened(program) is None:
            return False
        with self._connection.engine_lock:
            scores = self.protocol.scores(program, self._result(program))
        if scores is None:
            return False
        self.remembered.scores[program] = scores
        self.save()
        return True

    def _deliver(self) -> None:
        """Send pending messages and process none: the application has ended for this party."""
        while (request := self.request()).messages:
            start = perf_counter()
            request.send(self._client, self.client_id)
            self._note_posted(request.messages, perf_counter() - start)
            self.save()

    def _give_public_key(self) -> bool:
        first = self._names[0]
        given = self._gave_key or self.state is None or self.state.sha256_of(first, PUBLIC_KEY)
        if self.party != first or not self.protocol.ready or given:
            return False
        sealed = self._connection.joint_engine.seal_public_key(first, self.protocol.public_key)
        self._fill(PUBLIC_KEY, sealed, "public key")
        self._gave_key = True
        return True

    def _fill(self, file_name: str, message: bytes, what: str) -> Message:
        sent = send_slot(
            self._connection, self.client_id, self.party, self.token, file_name, message, what
        )
        self.remembered.events.append(sent)
        self.given += 1
        self.looks += 1
        if self.state is not None:
            self.state = self.state.with_slot(self.party, file_name, sent.size, sent.sha256)
        return sent

    def _log(self, sender: str, receiver: str, step: str, body: bytes, seconds: float) -> None:
        shown = body[-PREVIEW_BYTES:].hex()
        event = Message(sender, receiver, step, len(body), seconds, digest(body), shown, True)
        known = {(e.receiver, e.sha256) for e in self.remembered.events if e.relayed}
        if (event.receiver, event.sha256) not in known:  # sent again after a restart
            self.remembered.events.append(event)


def _masks_upload(program: str) -> str:
    """Return the name of the upload of a program's masks, in the log."""
    return f"{program}: encrypted masks"
