"""One party in one joint application: its protocol, its files, and its talk with the server.

A member runs without any page. `advance` does whatever can be done without a person: it sends and
takes messages, makes the keys, gives the server the public key, asks for the run that all agreed
to when it is its turn (parties/joint/asking.py), fetches the result and answers with this party's
part of the opening. What a person decides has methods of its own: `send_record`, `agree`, `cancel`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from time import perf_counter
from typing import Any, Self

import numpy as np

from contract.http import LONGEST_WAIT, ApplicationState
from engines.interface import ENCRYPTED_INPUTS, EXPLAIN
from parties.connection import Connection
from parties.expiry import Expiry, erase_expired, write_expiry
from parties.joint.channel import Identity
from parties.joint.codes import JoinCode
from parties.joint.files import MemberFiles, MemberRecord
from parties.joint.member_state import MemberState
from parties.joint.protocol import JointProtocol
from parties.joint.reading import decision_of, explanation_of
from parties.joint.token import note_times
from parties.results import Decision, ExplanationOpened, Message, SliceSent
from utils.errors import (
    ApplicationExpired,
    DataFolderInUse,
    ForeignMessage,
    MalformedMessage,
    TrisealError,
    UnknownApplication,
)
from utils.file_lock import HeldLock
from utils.forks import renew_in_children


class JointMember:
    """Plays `party` in the application `client_id`; `join` or `resume` one.

    It alone does so until `close`: the party's folder of the application is locked, so that no
    other process, no forked child and no second member answers for the party at the same time.

    Safe to share between a page's threads and one that pumps: one lock is held while the state
    changes, none while it waits. Every method raises ServerUnreachable and what the server reports;
    those that change something, DataFolderInUse after `close` and in a forked child.
    """

    def __init__(self, connection: Connection, own: MemberState, folder: HeldLock) -> None:
        self.client_id, self.party = own.client_id, own.party
        self.failure: TrisealError | None = own.ended
        """Why the last `advance` did not succeed, or None."""
        self._connection, self._folder = connection, folder
        self.own = own
        """The party's state; for tests to read. Everything else goes through the lock."""
        self._lock = threading.RLock()
        renew_in_children(self)

    def renew_after_fork(self) -> None:
        self._lock = threading.RLock()  # another thread of the parent may have held it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, seconds: float = -1) -> None:
        """Let others play the party; what was read so far can still be looked at here.

        Waits for what another thread is doing, at most `seconds` unless they are negative: then
        the party is let go of with the process.
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
        """Have the state for this thread; raises DataFolderInUse where it is not ours to change."""
        self._require_folder()
        with self._lock:
            self._require_folder()
            yield self.own

    def _require_folder(self) -> None:
        if self._folder.closed:
            raise DataFolderInUse(
                f"This process no longer plays {self.party} in application {self.client_id[:8]}: "
                "take the application up again to go on."
            )

    @classmethod
    def join(cls, connection: Connection, party: str, code: str, seconds: float = 0.0) -> Self:
        """Join with the code that the party was given (parties/joint/codes.py).

        Where this folder has joined with that very code before, it is resumed. Raises
        InvalidRequest, UnknownParty, NotAuthorised, UnknownApplication, ApplicationExpired, and
        DataFolderInUse where the party is played elsewhere for `seconds` more.
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
        readers: tuple[str, ...] = ()
        try:
            if files.joined():  # by another process since
                files.require_code(given.group_secret)
            else:
                joined = connection.client.join(client_id, party, given.server_code)
                remembered = MemberRecord(server=connection.client.url)
                note_times(remembered, joined)
                readers = joined.readers
                files.admit(Identity.fresh(given.group_secret), joined.token, remembered)
                # At once, so that the files expire on time even if nothing else is ever received.
                expiry = Expiry(joined=time.time()).as_told(
                    _iso(joined.application_created_at), _iso(joined.application_expires_at)
                )
                write_expiry(connection.store, client_id, party, expiry)
            return cls._of(connection, client_id, party, folder, readers)
        except BaseException:
            if not files.joined():
                files.erase()
            folder.close()
            raise

    @classmethod
    def resume(
        cls, connection: Connection, client_id: str, party: str, seconds: float = 0.0
    ) -> Self:
        """Pick up an application from the party's files.

        Raises NotAuthorised where it has not joined, ForeignMessage where the server has another
        model by now, MalformedMessage where a file is damaged, and DataFolderInUse where the party
        is played elsewhere for `seconds` more.
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
        readers: tuple[str, ...] = (),
    ) -> Self:
        files = MemberFiles(connection.store, client_id, party)
        token, identity, kept = files.token(), files.identity(), files.protocol()
        state: ApplicationState | None = None
        if kept is not None:
            protocol = JointProtocol.resume(
                connection.joint_engine, connection.public, party, client_id, identity, *kept
            )
        elif identity is None:
            raise MalformedMessage(
                f"The keys of {party} are gone before anything was said; join a new application."
            )
        else:
            if not readers:
                state = connection.client.state(client_id, token)
                readers = state.readers or tuple(connection.public.schema_.party_names)
            protocol = JointProtocol.start(
                connection.joint_engine,
                connection.public,
                party,
                client_id,
                identity,
                readers,
            )
        if protocol.model_version != connection.public.model_version:
            raise ForeignMessage(
                "The application was opened for another model than the server has now; join a new "
                "one."
            )
        own = MemberState(connection, client_id, party, files, protocol)
        if state is not None:
            own.note(state)
        return cls(connection, own, folder)

    @property
    def readers(self) -> tuple[str, ...]:
        """The parties that learn the answer."""
        return self.own.protocol.readers

    @property
    def is_reader(self) -> bool:
        """Return True if this party is a reader of the result."""
        return self.party in self.readers

    def advance(self, wait: float = 0.0, answer: bool = True) -> bool:
        """Do all that can be done now; return True if anything has changed.

        With `wait`, do what can be done before and after one call to the server, which waits up to
        so many seconds (at most 25) for what this party needs next, or for its turn to ask for a
        run. What became due meanwhile is sent by the next call; see `pending`. `answer` False
        leaves results unopened.

        Raises ProtocolError, KeyCheckFailed, MalformedMessage, ForeignMessage: then the state is
        as it was before what was refused, and `failure` keeps the error until an `advance`
        succeeds. What was refused is looked for again the next time, at once: pause before that.
        A run that failed raises nothing: `state` says so.

        Where what was refused is what another party has signed, or the server says that the
        application is over, it has ended for this party: see `ended`.
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
            # Nothing is opened by what the server said at an earlier time.
            changed = own.act(answer=False)
            changed |= own.ask(again=False) is not None
        while True:
            with self._alone() as own:
                request = own.request()
                at_once = changed or (answer and own.may_open())
                hold = 0.0 if at_once else max(0.0, min(wait, own.seconds_to_turn()))
                waiting = own.waiting(hold)
            start = perf_counter()
            # Without the lock, so that a page can be used meanwhile.
            found = self._connection.client.exchange(
                self.client_id, request.token, request.postings, request.after, waiting
            )
            seconds = 0.0 if hold else perf_counter() - start
            with self._alone() as own:
                changed |= own.take(found, request, seconds)
                changed |= own.act(answer)
                changed |= own.ask(again=False) is not None
                if wait > 0 or not own.protocol.pending():
                    return changed

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
        """How long this party still keeps the application's files; see parties/expiry.py."""
        return self.own.seconds_left()

    def expire(self) -> None:
        """Erase this party's files of the application, and let go of it."""
        with self._alone() as own:
            own.protocol.forget_keys()
            own.files.erase()
            self._folder.close()

    @property
    def pending(self) -> bool:
        """Return True if the next `advance` has something to send."""
        with self._lock:
            return bool(self.own.protocol.pending())

    @property
    def given(self) -> int:
        """How many messages, uploads and requests this member has given the server."""
        return self.own.given

    def all_agreed(self, program: str) -> bool:
        """Return True if all parties have agreed to open what `program` gives."""
        with self._lock:
            return self.own.protocol.agreed(program)

    @property
    def keys_ready(self) -> bool:
        """Return True if the public key is made and checked."""
        return self.own.protocol.ready

    @property
    def fingerprint(self) -> str | None:
        """20 hexadecimal digits in groups of 4, the same for all parties; None before the keys.

        Parties that compare it by voice know that nobody sits between them.
        """
        return self.own.protocol.fingerprint

    @property
    def secret_bytes(self) -> int:
        """Size of this party's own secret; 0 before it is made."""
        return len(self.own.protocol.secret)

    @property
    def public_key_bytes(self) -> int:
        """Size of the public key; 0 before it is made."""
        return len(self.own.protocol.public_key) if self.keys_ready else 0

    @property
    def awaits(self) -> tuple[str, ...]:
        """The other parties whose next message this one needs; empty where it needs none."""
        with self._lock:
            return self.own.protocol.awaits()

    @property
    def state(self) -> ApplicationState | None:
        """Return the application state that the server sent last."""
        return self.own.state

    def send_record(self, record: Mapping[str, Any]) -> SliceSent:
        """Encode, encrypt and send the party's record, a mapping of its columns to values.

        It may be replaced until a party has agreed to the decision. Raises UnknownColumn,
        ValueOutOfDomain; OutOfStep before the keys; AlreadySent after an agreement.
        """
        with self._alone() as own:
            return own.send_record(record)

    def is_sent(self, record: Mapping[str, Any]) -> bool:
        """Return True if the server holds exactly this record."""
        stored = self.record
        if stored is None or not self.has_sent:
            return False
        encode = self._connection.layout.encode_party
        return np.array_equal(encode(self.party, record), encode(self.party, stored))

    @property
    def has_sent(self) -> bool:
        """Return True if the server holds the record that this party sent last."""
        return self.own.has_sent

    @property
    def record(self) -> dict[str, Any] | None:
        """The record that this party sent last; from its own folder."""
        return self.own.files.record()

    @property
    def sent_by(self) -> tuple[str, ...]:
        """The parties whose encrypted record the server holds, in the schema's order."""
        state, names = self.state, self._connection.public.schema_.party_names
        return tuple(n for n in names if state and state.sha256_of(n, ENCRYPTED_INPUTS))

    def agree(self, program: str) -> None:
        """Agree to open what `program` ("decide", then "explain") gives on these very inputs.

        Raises OutOfStep where a record is missing or, for "explain", the decision is not opened
        yet; PartiesDisagree where the server holds something else than was sent or agreed to.
        """
        with self._alone() as own:
            own.agree(program)

    def agreed_by(self, program: str) -> tuple[str, ...]:
        """The parties that have agreed so far, in the schema's order."""
        with self._lock:
            agreed = self.own.protocol.agreements(program)
        return tuple(n for n in self._connection.public.schema_.party_names if n in agreed)

    def run_if_due(self) -> str | None:
        """Ask for a run that all agreed to, also for one that stopped; answers which, or None.

        `advance` asks by itself, but for those. Raises what ServerClient.queue raises.
        """
        with self._alone() as own:
            return own.ask(again=True)

    def cancel(self, program: str) -> None:
        """End the run that waits or is under way, for all parties; the agreement stands."""
        with self._alone() as own:
            own.cancel(program)

    def keep_token(self) -> float:
        """Renew the token if it is time, as `advance` does; see MemberToken.keep."""
        with self._alone() as own:
            return own.keep_token()

    @property
    def decision(self) -> Decision | None:
        """The decision, where this party reads it and all parts are there."""
        return decision_of(self._connection.public, self.client_id, self.own.remembered)

    @property
    def explanation(self) -> ExplanationOpened | None:
        """The explanation, where this party reads it and all parts are there.

        Only the party that owns the explained column gets its own bin (`current_bin`); for others
        it is -1 and the sentence speaks of the column alone.
        """
        schema, state = self._connection.public.schema_, self.state
        record = self.record if schema.explained_party == self.party else None
        ran = None if state is None else state.programs[EXPLAIN].seconds
        return explanation_of(schema, self.client_id, self.own.remembered, record, ran or 0.0)

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
            except TrisealError:  # on the server it expires by itself; the secret here must go
                self.expire()


def _iso(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat()
