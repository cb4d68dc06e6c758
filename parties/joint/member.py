"""One party in one joint application: its protocol, its files, and its calls to the server.

A member works without any page. `advance` does everything that needs no person: it sends and
receives messages, makes the keys, sends the server the public key and, once all parties have
committed to theirs, the encrypted record. It requests the agreed run when it is its turn
(parties/joint/asking.py), fetches the result and sends this party's decryption share.
Decisions of a person have methods of their own: `send_record`, `agree`, `cancel`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from time import perf_counter
from typing import Any, Self

import numpy as np

from contract.http import LONGEST_WAIT, ApplicationState, Joined
from engines.interface import EXPLAIN, REASONS, PublicModel, fingerprint_of
from parties.connection import Connection
from parties.expiry import Expiry, erase_expired, write_expiry
from parties.joint.channel import Identity
from parties.joint.codes import JoinCode
from parties.joint.decision_files import CheckedFile, fetch_checked
from parties.joint.files import MemberFiles, MemberRecord
from parties.joint.identities import PartyIdentity
from parties.joint.member_state import MemberState
from parties.joint.protocol import JointProtocol
from parties.joint.reading import decision_of, explanation_of, reasons_of
from parties.joint.token import note_times
from parties.joint.witnesses import required_witnesses
from parties.results import Decision, ExplanationOpened, Message, ReasonsOpened, SliceSent
from utils.errors import (
    ApplicationExpired,
    ConsentMissing,
    DataFolderInUse,
    ForeignMessage,
    MalformedMessage,
    TrisealError,
    UnknownApplication,
)
from utils.file_lock import HeldLock
from utils.forks import renew_in_children

PERMITS_SECONDS = 3.0
"""Longest wait of a person's request for a run for the other parties' new permits."""
PAUSE_SECONDS = 0.2


class JointMember:
    """Plays `party` in the application `client_id`; create it with `join` or `resume`.

    Until `close` it holds a lock on the party's folder of the application, so that no other
    process, forked child or second member acts for the party at the same time.

    Safe to share between threads: a lock is held while the state changes, but not while a call
    waits. Every method raises ServerUnreachable and the errors that the server reports; those that
    change something also raise DataFolderInUse after `close` and in a forked child.
    """

    def __init__(self, connection: Connection, own: MemberState, folder: HeldLock) -> None:
        self.client_id, self.party = own.client_id, own.party
        self.failure: TrisealError | None = own.ended
        """The error of the last `advance`, or None if it succeeded."""
        self._connection, self._folder = connection, folder
        self.own = own
        """The party's state, public for tests only; all other access is under the lock."""
        self._lock = threading.RLock()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        self._lock = threading.RLock()  # another thread of the parent may have held it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, seconds: float = -1) -> None:
        """Release the party's folder for other processes; what was read can still be viewed.

        Waits at most `seconds` (without limit if negative) for another thread's step; if that takes
        longer, the folder is released when the process ends.
        """
        if not self._lock.acquire(timeout=seconds):
            return
        try:
            if not self._folder.closed:
                self.own.save()
        finally:
            self._folder.close()
            self._lock.release()

    @property
    def closed(self) -> bool:
        """Return True if this object no longer runs the party."""
        return self._folder.closed

    def require_code(self, code: str) -> None:
        """Compare a join code with the one that the party joined with; raises NotAuthorised."""
        self.own.files.require_code(JoinCode.parse(code).group_secret, self.own.remembered)

    @contextmanager
    def _alone(self) -> Iterator[MemberState]:
        """Lock the state for this thread; raises DataFolderInUse if the folder was released."""
        self._require_folder()
        with self._lock:
            self._require_folder()
            yield self.own

    def _require_folder(self) -> None:
        if self._folder.closed:
            raise DataFolderInUse(
                f"This process no longer plays {self.party} in application {self.client_id[:8]}: "
                "resume the application to continue."
            )

    @classmethod
    def join(cls, connection: Connection, party: str, code: str, seconds: float = 0.0) -> Self:
        """Join with the party's join code (parties/joint/codes.py).

        If this folder has already joined with the same code, resume the application. Raises
        InvalidRequest, UnknownParty, NotAuthorised, UnknownApplication, ApplicationExpired,
        ForeignMessage if the server's model is not that of the connection, and DataFolderInUse if
        another process still plays the party after `seconds`.
        """
        given = JoinCode.parse(code)
        client_id = given.client_id
        connection.public.schema_.party(party)
        erase_expired(connection.store, connection.hours)
        files = MemberFiles(connection.store, client_id, party)
        if files.joined():
            files.require_code(given.group_secret)
            return cls.resume(connection, client_id, party, seconds)
        folder = connection.store.make_and_hold(client_id, party)
        joined: Joined | None = None
        try:
            if files.joined():  # another process has joined meanwhile
                files.require_code(given.group_secret)
            else:
                identity = Identity.fresh(given.group_secret)
                joined = connection.client.join(
                    client_id,
                    party,
                    given.server_code,
                    permit_key=identity.public.signing,
                    model_sha256=connection.public.digest,
                )
                remembered = MemberRecord(server=connection.client.url)
                note_times(remembered, joined)
                required_witnesses(connection.witnesses, joined.witnesses)
                files.admit(identity, joined.token, remembered)
                # At once, so that the files expire on time even if nothing else is ever received.
                expiry = Expiry(joined=time.time()).as_told(
                    _iso(joined.application_created_at), _iso(joined.application_expires_at)
                )
                write_expiry(connection.store, client_id, party, expiry)
            return cls._of(connection, client_id, party, folder, joined)
        except BaseException:
            if not files.joined():
                files.erase()
            folder.close()
            raise

    @classmethod
    def resume(
        cls, connection: Connection, client_id: str, party: str, seconds: float = 0.0
    ) -> Self:
        """Resume an application from the party's files.

        Raises NotAuthorised if the party has not joined, ForeignMessage if the server's model has
        changed, MalformedMessage if a file is damaged, and DataFolderInUse if another process still
        plays the party after `seconds`.
        """
        MemberFiles(connection.store, client_id, party).token()
        folder = connection.store.hold(client_id, party, seconds)
        try:
            return cls._of(connection, client_id, party, folder)
        except BaseException:
            folder.close()
            raise

    @classmethod
    def _of(
        cls,
        connection: Connection,
        client_id: str,
        party: str,
        folder: HeldLock,
        joined: Joined | None = None,
    ) -> Self:
        files = MemberFiles(connection.store, client_id, party)
        token, identity, kept = files.token(), files.identity(), files.protocol()
        state: ApplicationState | None = None
        if kept is not None:
            protocol = JointProtocol.resume(
                connection.joint_engine,
                connection.public,
                party,
                client_id,
                identity,
                *kept,
                connection.trust.pins,
            )
        elif identity is None:
            raise MalformedMessage(
                f"The identity file of {party} is missing; join a new application."
            )
        else:
            if joined is None or not joined.readers:
                state = connection.client.state(client_id, token)
            named = state or joined
            protocol = JointProtocol.start(
                connection.joint_engine,
                connection.public,
                party,
                client_id,
                identity,
                (named.readers if named else ()) or tuple(connection.public.schema_.party_names),
                connection.trust,
                required_witnesses(connection.witnesses, named.witnesses if named else ()),
                (named.explanation_readers if named else ()) or None,
                (named.reasons_readers if named else ()) or None,
            )
        if protocol.model_sha256 != connection.public.digest:
            raise ForeignMessage(
                "The server's model has changed since the application was opened; join a new one."
            )
        own = MemberState(connection, client_id, party, files, protocol)
        if identity is not None:
            own.end_if_not_pinned()
        if state is not None:
            own.note(state)
        return cls(connection, own, folder)

    @property
    def public(self) -> PublicModel:
        """The public model of the server."""
        return self._connection.public

    @property
    def readers(self) -> tuple[str, ...]:
        """The parties that learn the result."""
        return self.own.protocol.readers

    @property
    def model_fingerprint(self) -> str:
        """The fingerprint of the public model that this party joined the application with."""
        return fingerprint_of(self.own.protocol.model_sha256)

    @property
    def is_reader(self) -> bool:
        """Return True if this party learns the decision."""
        return self.party in self.readers

    def readers_of(self, program: str) -> tuple[str, ...]:
        """Return the parties that learn the result of "decide", "explain" or "reasons"."""
        return self.own.protocol.readers_of(program)

    def reads(self, program: str) -> bool:
        """Return True if this party learns the result of "decide", "explain" or "reasons"."""
        return self.party in self.readers_of(program)

    def advance(self, wait: float = 0.0, answer: bool = True) -> bool:
        """Do everything that is possible now; return True if anything has changed.

        With `wait`, and if there is nothing to do now, make one call to the server, which waits up
        to `wait` seconds (at most 25) for the next messages that this party needs, or for its turn
        to request a run. Messages that become due after that call are sent by the next one; see
        `pending`. If `answer` is False, no
        result is opened.

        Raises ProtocolError, MalformedMessage or ForeignMessage for a refused
        message. The state is then that before the message, and `failure` keeps the error until an
        `advance` succeeds. The next call fetches the same message again without delay, so pause
        before it. A failed run raises no error; see `state`.

        If the refused message was signed by another party, or the server reports that the
        application is over, the application has ended for this party; see `ended`.
        """
        try:
            changed = self._advance(min(max(wait, 0.0), LONGEST_WAIT), answer)
        except TrisealError as error:
            self.failure = error
            if not self._folder.closed:
                self._end_by(error)
            raise
        self.failure = None
        return changed

    def _advance(self, wait: float, answer: bool) -> bool:
        with self._alone() as own:
            own.require_going_on()
            own.keep_token()
            # Results are opened only on the state of a new exchange.
            changed = own.act(answer=False)
            if changed and wait > 0:
                return True
            # In the same block: a change by another thread in between would make something due,
            # and the exchange would wait for news although this party is the one to act.
            request = own.next_request(wait, answer)
        while True:
            start = perf_counter()
            try:
                # Without the lock, so that a page stays usable.
                found = request.send(self._connection.client, self.client_id)
            except TrisealError as error:
                if request.run is None:
                    raise
                with self._alone() as own:
                    own.not_queued(error)
                return True
            seconds = 0.0 if request.waiting.seconds else perf_counter() - start
            with self._alone() as own:
                changed |= own.take(found, request, seconds)
                changed |= own.act(answer)
                if wait > 0 or not (own.protocol.pending() or own.due_run()):
                    return changed
                request = own.next_request(wait, answer)

    def _end_by(self, error: TrisealError) -> None:
        with self._alone() as own:
            own.end_if_broken(error)
            if isinstance(error, ApplicationExpired | UnknownApplication):
                own.end_if_gone(error)

    @property
    def ended(self) -> TrisealError | None:
        """Return the error that ended the application for this party, or None.

        The party's keys of the application are then erased. The error is kept in its files; the
        results opened before can still be read.
        """
        return self.own.ended

    @property
    def seconds_left(self) -> float:
        """Seconds until this party erases the application's files; see parties/expiry.py."""
        return self.own.seconds_left()

    def expire(self) -> None:
        """Erase this party's files of the application, except those of a review, and close."""
        with self._alone() as own:
            own.protocol.forget_keys()
            own.files.expire()
            self._folder.close()

    @property
    def pending(self) -> bool:
        """Return True if the next `advance` has something to send."""
        with self._lock:
            return bool(self.own.protocol.pending())

    @property
    def given(self) -> int:
        """Number of messages, uploads and requests that this member has sent to the server."""
        return self.own.given

    def all_agreed(self, program: str) -> bool:
        """Return True if all parties have agreed to open the program's result."""
        with self._lock:
            return self.own.protocol.agreed(program)

    @property
    def keys_ready(self) -> bool:
        """Return True if the public key is made and checked."""
        return self.own.protocol.ready

    @property
    def fingerprint(self) -> str | None:
        """20 hexadecimal digits in groups of 4, equal for all parties; None before the keys.

        Parties that compare it over another channel detect an attacker between them.
        """
        return self.own.protocol.fingerprint

    @property
    def identities(self) -> tuple[PartyIdentity, ...]:
        """The other parties' identity keys as known so far, and whether they are pinned."""
        with self._lock:
            return self.own.protocol.identities

    @property
    def own_identity(self) -> bytes:
        """This party's public identity key."""
        return self.own.protocol.own_identity

    @property
    def secret_bytes(self) -> int:
        """Size of this party's own secret; 0 before it is made."""
        return len(self.own.protocol.secret)

    @property
    def public_key(self) -> bytes:
        """The joint public key; empty before it is made."""
        return self.own.protocol.public_key if self.keys_ready else b""

    @property
    def public_key_bytes(self) -> int:
        """Size of the public key; 0 before it is made."""
        return len(self.public_key)

    @property
    def awaits(self) -> tuple[str, ...]:
        """The other parties whose message or permit is needed next; empty if none is."""
        with self._lock:
            return self.own.protocol.awaits() or self.own.unpermitted()

    @property
    def has_the_next_step(self) -> bool:
        """True if nothing is to be done or awaited until this party's person acts."""
        with self._lock:
            return self.own.has_the_next_step

    @property
    def permits_runs(self) -> bool:
        """Return True if this party has agreed to a run that has not begun: it keeps a permit."""
        with self._lock:
            return bool(self.own.permits_runs())

    def decision_file(self, program: str) -> CheckedFile:
        """Fetch and verify the decision file of a program; see fetch_checked."""
        with self._lock:
            token, hellos = self.own.token, self.own.protocol.hellos
        return fetch_checked(self._connection.client, self.client_id, token, program, hellos)

    def withhold_permits(self, when: Callable[[], bool]) -> None:
        """Give the server no permit as long as `when` returns True."""
        with self._lock:
            self.own.withheld = when

    @property
    def witnesses(self) -> tuple[str, ...]:
        """The names of the witnesses without whose signature this party opens nothing."""
        return tuple(self.own.protocol.witnesses.values())

    @property
    def awaited_witnesses(self) -> tuple[str, ...]:
        """The names of the witnesses whose signature is needed next."""
        with self._lock:
            return self.own.awaited_witnesses()

    @property
    def state(self) -> ApplicationState | None:
        """Return the application state that the server sent last."""
        return self.own.state

    def send_record(self, record: Mapping[str, Any]) -> SliceSent:
        """Encode, encrypt and send the party's record, a mapping of its columns to values.

        This commits to the encrypted record; it leaves once all parties have committed to theirs,
        so that no party's record can depend on another's. It cannot be replaced: after any upload
        under this key, a replaced record could be a modified copy of another party's ciphertext,
        and only new keys, in a new application, prevent that. The same record again, before any
        agreement, changes nothing. Raises UnknownColumn, ValueOutOfDomain, OutOfStep before the
        keys are made, and AlreadySent for another record.
        """
        with self._alone() as own:
            return own.send_record(record)

    def is_sent(self, record: Mapping[str, Any]) -> bool:
        """Return True if this party has sent a record with the same encoding."""
        stored = self.record
        if stored is None or not self.has_sent:
            return False
        encode = self._connection.layout.encode_party
        return np.array_equal(encode(self.party, record), encode(self.party, stored))

    @property
    def has_sent(self) -> bool:
        """Return True once this party has committed to its record; the rest is automatic."""
        return self.own.protocol.has_committed

    @property
    def upload(self) -> Message | None:
        """The upload of this party's encrypted record, or None before it has arrived."""
        return self.own.upload

    @property
    def records_arrived(self) -> bool:
        """True if the server holds all parties' encrypted records."""
        return self.own.records_arrived

    @property
    def record(self) -> dict[str, Any] | None:
        """The record that this party sent last, read from its own folder."""
        return self.own.files.record()

    @property
    def sent_by(self) -> tuple[str, ...]:
        """The parties that have committed to their records, in the schema's order."""
        with self._lock:
            committed = self.own.protocol.committed()
        return tuple(n for n in self._connection.public.schema_.party_names if n in committed)

    def agree(self, program: str) -> None:
        """Agree to open the result of `program` on the records committed to.

        It is "decide" and, after that, "explain" or "reasons" in any order. Raises OutOfStep if a
        record is missing or, for these two, before the decision is opened,
        and PartiesDisagree if the server's records are not those committed to.
        """
        with self._alone() as own:
            own.agree(program)

    def agreed_by(self, program: str) -> tuple[str, ...]:
        """Return the parties that have agreed so far, in the schema's order."""
        with self._lock:
            agreed = self.own.protocol.agreements(program)
        return tuple(n for n in self._connection.public.schema_.party_names if n in agreed)

    def run_if_due(self) -> str | None:
        """Request an agreed run, even one that stopped; return the program, or None.

        `advance` requests runs by itself, except those that stopped. After one that stopped, all
        parties' processes issue new permits; wait a moment for them. Raises the errors of
        ServerClient.queue, among them ConsentMissing, which names the parties without a permit.
        """
        end = time.monotonic() + PERMITS_SECONDS
        while True:
            try:
                with self._alone() as own:
                    return own.run_again()
            except ConsentMissing:
                if time.monotonic() > end:
                    raise
            time.sleep(PAUSE_SECONDS)

    def cancel(self, program: str) -> None:
        """Cancel the queued or active run for all parties; their agreement remains valid."""
        with self._alone() as own:
            own.cancel(program)

    def keep_token(self) -> float:
        """Renew the token if it is time, as `advance` does; see MemberToken.keep."""
        with self._alone() as own:
            return own.keep_token()

    @property
    def decision(self) -> Decision | None:
        """The decision; None before all shares have arrived, and for a party that is no reader."""
        return decision_of(self._connection.public, self.client_id, self.own.remembered)

    @property
    def explanation(self) -> ExplanationOpened | None:
        """The explanation; None before all shares have arrived, and for a party that is no reader.

        For parties other than a column's owner, the text does not mention its present value, and
        `current_bin` of the explained column is -1.
        """
        public, ran = self._connection.public, self._seconds_of(EXPLAIN)
        return explanation_of(public, self.client_id, self.own.remembered, self.record, ran)

    @property
    def reasons(self) -> ReasonsOpened | None:
        """The reasons; None before all shares have arrived, and for a party that is no reader."""
        ran = self._seconds_of(REASONS)
        return reasons_of(self._connection.public, self.client_id, self.own.remembered, ran)

    def _seconds_of(self, program: str) -> float:
        """Return the seconds of a program's runs on the server, its comparison's included."""
        runs = {} if self.state is None else self.state.programs
        named = {program, self._connection.public.final(program)}
        return sum(runs[name].seconds or 0.0 for name in named if name in runs)

    @property
    def events(self) -> tuple[Message, ...]:
        """Return the messages sent, received and fetched, oldest first; survives a restart.

        Messages between parties have `relayed` True: they went through the server, sealed.
        Their receiver is a party or `parties.results.ALL`.
        """
        return tuple(self.own.remembered.events)

    def holdings(self) -> list[tuple[str, int]]:
        """Return the contents of this party's folder: a description of each item, and its bytes."""
        return self.own.files.holdings()

    def erase(self) -> None:
        """Erase the application on the server, for all parties, and this party's files of it."""
        with self._alone() as own:
            with suppress(UnknownApplication, ApplicationExpired):
                self._connection.client.erase(self.client_id, own.token)
            self.expire()

    def discard(self) -> None:
        """Erase this party's files, and the application on the server if it can be reached."""
        with self._alone():
            try:
                self.erase()
            except TrisealError:  # the server's copy expires by itself
                self.expire()


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
