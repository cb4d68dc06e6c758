"""What a member does, one thing at a time: its protocol on one side, server and files on the other.

Not safe to share: the member holds its lock around every call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any

from engines.interface import DECIDE, ENCRYPTED_INPUTS, PUBLIC_KEY
from parties.connection import Connection
from parties.expiry import Expiry, read_expiry, write_expiry
from parties.joint.asking import Asking
from parties.joint.files import IDENTITY, Ended, Fetched, MemberFiles
from parties.joint.protocol import JointProtocol
from parties.joint.token import MemberToken
from parties.messages import ApplicationState, RelayedMessages
from parties.results import (
    ALL,
    PREVIEW_BYTES,
    SERVER,
    Message,
    SliceSent,
    digest,
    preview,
)
from parties.single_key.slots import send_slot
from parties.store import SECRET_KEY
from utils.errors import AlreadySent, OutOfStep, PartiesDisagree, TrisealError, error_classes


class MemberDesk:
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
        """How often the state was asked for besides the messages."""
        self.tag = ""
        self._connection, self._client = connection, connection.client
        self._names = tuple(connection.public.schema_.party_names)
        self._gave_key = False
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
        """Keep everything; before anything leaves that rests on it."""
        self.files.save(self.protocol, self.remembered)

    @property
    def ended(self) -> TrisealError | None:
        """Why the application is over for this party, or None."""
        why = self.remembered.ended
        return None if why is None else error_classes().get(why.code, TrisealError)(why.message)

    def require_going_on(self) -> None:
        """Raises what ended the application for this party, if anything has.

        What was sealed before is sent all the same: without it the others would wait for ever,
        instead of finding what this party has found.
        """
        if (error := self.ended) is not None:
            with suppress(TrisealError):
                self._send()
            raise error

    def end(self, error: TrisealError) -> None:
        """Give the application up because of an error that nothing later can mend; erase the keys.

        What was opened before stays.
        """
        if self.remembered.ended is None:
            self.remembered.ended = Ended(code=error.code, message=error.message)
            self.save()
        self.protocol.forget_keys()
        self.files.remove(SECRET_KEY)
        self.files.remove(IDENTITY)
        with suppress(TrisealError):
            self._send()

    def end_if_broken(self, error: TrisealError) -> None:
        """Give it up where the error is a refusal of what another party has bound itself to."""
        if self.protocol.broken:
            self.end(error)

    def end_if_gone(self, error: TrisealError) -> None:
        """Give it up where the server that it was joined at says that it is over, or unknown."""
        if self.remembered.server in ("", self._client.url):
            self.end(error)

    def seconds_left(self) -> float:
        """How long this party still keeps the application's files."""
        # The monotonic clock as well, since the other one may be set back.
        return min(self._kept_seconds(), self._deadline - time.monotonic())

    def note(self, state: ApplicationState) -> None:
        """Keep what the server says of the application's state, and its end in the folder."""
        self.state = state
        expiry = self._expiry.as_told(state.created_at, state.expires_at)
        if expiry != self._expiry:
            self._expiry = expiry
            self._keep_expiry()

    def _kept_seconds(self) -> float:
        return self._expiry.seconds_left(time.time(), self._connection.hours)

    def _keep_expiry(self) -> None:
        write_expiry(self._connection.store, self.client_id, self.party, self._expiry)
        self._deadline = time.monotonic() + self._kept_seconds()

    def _erase_used_keys(self) -> None:
        """Erase what nothing is left to do with.

        The secret goes once this party's part of the last opening is made, sealed and kept; the
        channels' keys once all of it is delivered and, for a reader, all scores are opened.
        """
        if not self.protocol.last_part_given:
            return
        if self.protocol.secret:
            self.protocol.forget_secret()
            self.files.remove(SECRET_KEY)
        programs = self._connection.public.programs
        reads = self.party in self.protocol.readers
        if not self.protocol.pending() and (
            not reads or all(program in self.remembered.scores for program in programs)
        ):
            self.protocol.forget_keys()
            self.files.remove(IDENTITY)

    def act(self, answer: bool) -> bool:
        """Send what is pending, the public key, parts of results; whether there was anything."""
        self.require_going_on()
        acted = self._send() | self._give_public_key()
        for program in self._connection.public.programs:
            if answer and self._may_open(program):
                self.open(program)
                acted = True
            acted |= self._read(program)
        if acted:
            self._erase_used_keys()
        return acted

    def take(self, relayed: RelayedMessages, asked: int) -> bool:
        """Take what the server showed when `looks` was `asked`; whether there was anything new.

        What is refused is raised, and looked for again the next time.
        """
        changed = False
        if asked == self.looks:  # otherwise this party has seen a later state meanwhile
            changed = self.tag != relayed.tag
            self.note(relayed.state)
            self.tag = relayed.tag
        try:
            for message in relayed.messages:
                if message.number <= self.remembered.cursor:
                    continue  # another thread has been quicker
                place = (message.sender, message.step, message.receiver)
                with self._connection.engine_lock:
                    new = self.protocol.receive(*place, message.body)
                self.remembered.cursor = message.number
                changed = True
                if new:
                    to = message.receiver or ALL
                    self._log(message.sender, to, message.step, message.body, 0.0)
        finally:
            self.save()
        return changed

    def send_record(self, record: Mapping[str, Any]) -> SliceSent:
        """Encrypt and send a record, in place of an earlier one."""
        self.require_going_on()
        bits = self._connection.layout.encode_party(self.party, record)
        key = self.protocol.public_key
        news = self._client.messages(self.client_id, self.token, self.remembered.cursor)
        self.take(news, self.looks)
        agreed = sorted(self.protocol.agreements(DECIDE))
        if agreed:
            raise AlreadySent(
                f"{', '.join(agreed)} agreed to the decision on the records as they are. Open a "
                "new application for another record; it gets keys of its own."
            )
        start = perf_counter()
        with self._connection.engine_lock:
            sealed = self._connection.joint_engine.encrypt(self.party, bits, key)
        seconds = perf_counter() - start
        self.remembered.sent, self.remembered.arrived = digest(sealed), False
        self.files.keep_record(record)
        self.save()
        sent = self._fill(ENCRYPTED_INPUTS, sealed, "encrypted inputs")
        self.remembered.arrived = True
        self.save()
        self._look()
        return SliceSent(
            client_id=self.client_id,
            party=self.party,
            bits=len(bits),
            size=sent.size,
            encrypt_seconds=seconds,
            send_seconds=sent.seconds,
            sha256=sent.sha256,
            preview=sent.preview,
            fresh=False,
            messages=(sent,),
        )

    def _look(self) -> None:
        self.looks += 1
        self.note(self._client.state(self.client_id, self.token))

    @property
    def has_sent(self) -> bool:
        """Whether the server holds what this party sent last."""
        if self.state is None:
            return self.remembered.arrived
        held = self.state.sha256_of(self.party, ENCRYPTED_INPUTS)
        return held is not None and held == self.remembered.sent

    def agree(self, program: str) -> None:
        """Agree on what the server holds now."""
        self.require_going_on()
        key = self.protocol.public_key
        state = self._client.state(self.client_id, self.token)
        first = self._names[0]
        sealed = self._connection.joint_engine.seal_public_key(first, key)
        held = {party: state.sha256_of(party, ENCRYPTED_INPUTS) for party in self._names}
        inputs = {party: sha256 for party, sha256 in held.items() if sha256 is not None}
        missing = [party for party in self._names if party not in inputs]
        held_key = state.sha256_of(first, PUBLIC_KEY)
        if missing or held_key is None:
            raise OutOfStep(
                f"There is nothing to agree to yet; still to be sent: "
                f"{', '.join(missing) or 'the public key'}."
            )
        if inputs[self.party] != self.remembered.sent:
            raise PartiesDisagree(
                f"The server holds another record of {self.party} than {self.party} sent. Send it "
                "again; if that does not help, open a new application."
            )
        if held_key != digest(sealed):
            raise PartiesDisagree(
                "The server holds another public key than the parties made. Open a new application."
            )
        self.protocol.agree(program, inputs)
        self._send()

    def ask(self, again: bool) -> str | None:
        """Ask for the run whose turn it is, if any, and answer which; see Asking."""
        self.require_going_on()
        program = self._asking.due(self.state, self._agreed(), again)
        if program is None:
            return None
        start = perf_counter()
        self._client.queue(self.client_id, self.token, program)
        seconds = perf_counter() - start
        self.remembered.events.append(Message(self.party, SERVER, f"run {program}", 0, seconds))
        self._look()
        return program

    def seconds_to_turn(self) -> float:
        """How long until this party has to ask for a run; infinite where it has not."""
        return self._asking.seconds(self.state, self._agreed())

    def cancel(self, program: str) -> None:
        """End a run that waits or is under way, and look what that changed."""
        self._client.cancel(self.client_id, self.token, program)
        self._look()

    def _agreed(self) -> list[str]:
        return [p for p in self._connection.public.programs if self.protocol.agreed(p)]

    def open(self, program: str) -> None:
        """Fetch a result and answer with this party's part."""
        self.require_going_on()
        state = self._client.state(self.client_id, self.token)
        if not self.protocol.agreed(program) or state.programs[program].status != "done":
            raise OutOfStep(f"There is no result of {program} that all parties agreed to yet.")
        agreed = self.protocol.agreements(program)[self.party].inputs
        for party in self._names:
            if state.sha256_of(party, ENCRYPTED_INPUTS) != agreed[party]:
                raise PartiesDisagree(
                    f"{program} was run on another record of {party} than was agreed to. Nothing "
                    "of it is opened; open a new application."
                )
        start = perf_counter()
        result = self._client.get_output(self.client_id, self.token, program)
        seconds = perf_counter() - start
        first = self.protocol.opened(program) is None
        with self._connection.engine_lock:
            self.protocol.open(program, result)
        if first:  # the result first: a state that says opened must find it
            self.files.write(f"{program}.result", result)
            what, shown = f"encrypted result of {program}", preview(result)
            fetched = Message(SERVER, self.party, what, len(result), seconds, digest(result), shown)
            self.remembered.events.append(fetched)
            self.remembered.results[program] = Fetched(
                size=len(result), seconds=seconds, sha256=fetched.sha256, preview=shown
            )
            self.save()
        self._send()

    def _may_open(self, program: str) -> bool:
        return (
            self.state is not None
            and self.state.programs[program].status == "done"
            and self.protocol.opened(program) is None
            and self.protocol.agreed(program)
        )

    def _read(self, program: str) -> bool:
        if program in self.remembered.scores or self.protocol.opened(program) is None:
            return False
        result = self.files.read(f"{program}.result")
        if result is None:
            result = self._client.get_output(self.client_id, self.token, program)
        with self._connection.engine_lock:
            scores = self.protocol.scores(program, result)
        if scores is None:
            return False
        self.remembered.scores[program] = scores
        self.save()
        return True

    def _send(self) -> bool:
        pending = self.protocol.pending()
        if pending:
            self.save()
        for message in pending:
            start = perf_counter()
            self._client.post(
                self.client_id, self.token, message.step, message.receiver, message.body
            )
            message.posted = True
            seconds = perf_counter() - start
            self._log(self.party, message.receiver or ALL, message.step, message.body, seconds)
        return bool(pending)

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
        return sent

    def _log(self, sender: str, receiver: str, step: str, body: bytes, seconds: float) -> None:
        shown = body[-PREVIEW_BYTES:].hex()
        event = Message(sender, receiver, step, len(body), seconds, digest(body), shown, True)
        known = {(e.receiver, e.sha256) for e in self.remembered.events if e.relayed}
        if (event.receiver, event.sha256) not in known:  # sent again after a restart
            self.remembered.events.append(event)
