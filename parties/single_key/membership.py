"""The parties that this process plays in one application, and the messages that they have sent.

All state is in the parties' own files (parties/store.py): a token means joined, a stored sealed
message means sent, a stored decision means opened. A membership can therefore be resumed by its
client_id, and missing steps are found without asking the server.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from time import perf_counter

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.http import Opened
from engines.interface import EVALUATION_KEY, Slot
from governance.permits import issue
from governance.program_permits import covered_slots, uses_of
from parties.connection import Connection
from parties.expiry import Expiry, erase_expired, write_expiry
from parties.results import SERVER, Message, digest, preview
from parties.single_key.slots import send_slot
from parties.store import PERMIT_KEY, RECORD, SECRET_KEY, TOKEN
from utils.errors import (
    ApplicationExpired,
    NotAuthorised,
    OutOfStep,
    PartiesDisagree,
    TrisealError,
    UnknownApplication,
)

KEY_BYTES = 32
log = logging.getLogger(__name__)


class Membership:
    """An application and the parties played in it, in the schema's order.

    `unclaimed` are the join codes of the parties that this process does not play, to be given to
    their own machines.
    """

    def __init__(
        self,
        connection: Connection,
        client_id: str,
        plays: Iterable[str],
        unclaimed: Mapping[str, str] | None = None,
    ) -> None:
        self.connection = connection
        self.client_id = client_id
        played = set(plays)
        self.plays = tuple(p for p in connection.public.schema_.party_names if p in played)
        self.unclaimed = dict(unclaimed or {})

    @classmethod
    def open(cls, connection: Connection, plays: Iterable[str] | None = None) -> Membership:
        """Open an application and join it as the parties of `plays`, or as all parties if None.

        Raises UnknownParty, ServerUnreachable, and the error that the server reports.
        """
        names = connection.public.schema_.party_names
        played = list(names if plays is None else plays)
        for name in played:
            connection.public.schema_.party(name)
        erase_expired(connection.store, connection.hours)
        opened: Opened = connection.client.open_application()
        codes = {party: opened.join_codes[party] for party in played}
        cls._join(connection, opened.client_id, codes)
        cls._keep_expiry(connection, opened.client_id, played, "", opened.expires_at)
        others = {p: code for p, code in opened.join_codes.items() if p not in codes}
        return cls(connection, opened.client_id, played, others)

    @classmethod
    def join(cls, connection: Connection, client_id: str, codes: Mapping[str, str]) -> Membership:
        """Join an application that another process opened, with join `codes` by party."""
        cls._join(connection, client_id, codes)
        joined = cls(connection, client_id, connection.store.parties(client_id))
        state = connection.client.state(client_id, joined.token())
        cls._keep_expiry(connection, client_id, codes, state.created_at, state.expires_at)
        return joined

    @classmethod
    def resume(cls, connection: Connection, client_id: str) -> Membership:
        """Resume an application from the parties' files; raises UnknownApplication."""
        return cls(connection, client_id, connection.store.parties(client_id))

    @staticmethod
    def _join(connection: Connection, client_id: str, codes: Mapping[str, str]) -> None:
        for party, code in codes.items():
            connection.store.folder(client_id, party)  # refuses an invalid id before any request
            key = Ed25519PrivateKey.from_private_bytes(os.urandom(KEY_BYTES))
            public = key.public_key().public_bytes_raw()
            token = connection.client.join(client_id, party, code, permit_key=public).token
            connection.store.write(client_id, party, PERMIT_KEY, key.private_bytes_raw())
            connection.store.write(client_id, party, TOKEN, token.encode())

    @staticmethod
    def _keep_expiry(
        connection: Connection,
        client_id: str,
        parties: Iterable[str],
        created_at: str,
        expires_at: str,
    ) -> None:
        expiry = Expiry(joined=time.time()).as_told(created_at, expires_at)
        for party in parties:
            write_expiry(connection.store, client_id, party, expiry)

    @property
    def plays_all(self) -> bool:
        return list(self.plays) == self.connection.public.schema_.party_names

    def token(self, party: str | None = None) -> str:
        """Return the bearer token of `party`, by default the first one; raises NotAuthorised."""
        name = party or self.plays[0]
        data = self.connection.store.read(self.client_id, name, TOKEN)
        if data is None:
            raise NotAuthorised(f"This process has not joined the application as {name}.")
        return data.decode()

    def read(self, party: str, name: str) -> bytes | None:
        """Return the contents of a party's file of this application, or None."""
        return self.connection.store.read(self.client_id, party, name)

    def write(self, party: str, name: str, data: bytes) -> None:
        """Write a party's file of this application."""
        self.connection.store.write(self.client_id, party, name, data)

    def sent(self, slot: Slot) -> bool:
        """Return True if the slot's party, played here, has sent its message."""
        return self.connection.store.has(self.client_id, slot.party, slot.file_name)

    def ran(self, program: str) -> bool:
        """Return True if these parties have had the server run the program."""
        return self._done_by(program) is not None

    def mark_ran(self, program: str, seconds: float) -> None:
        """Record that the server has run the program, in `seconds`."""
        self.write(self.plays[0], f"{program}.seconds", repr(seconds).encode())

    def _done_by(self, program: str) -> bytes | None:
        return self.read(self.plays[0], f"{program}.seconds")

    def missing(self, program: str) -> list[str]:
        """Return the steps, of the parties played here, that the program still waits for."""
        schema = self.connection.public.schema_
        faults = []
        for slot in self.connection.public.slots:
            if program not in slot.needed_for or slot.party not in self.plays or self.sent(slot):
                continue
            label = schema.party(slot.party).label
            if slot.file_name == EVALUATION_KEY:
                faults.append(f"the {label} has to make and send the keys")
            else:
                faults.append(f"the {label} has to encrypt and send its record")
        return list(dict.fromkeys(faults))

    def send_slot(self, party: str, file_name: str, message: bytes, what: str) -> Message:
        """Send a sealed message to its slot, and store it as the last one sent there.

        Raises UnknownName or UploadTooLarge before any request, MalformedMessage if the server
        received different bytes, and the error that the server reports.
        """
        sent = send_slot(
            self.connection, self.client_id, party, self.token(party), file_name, message, what
        )
        self.write(party, file_name, message)
        return sent

    def permit(self, program: str) -> None:
        """Give the server a permit of every party played here for one run of the program.

        The permits name the messages that the server holds now. Nothing is given for a run that is
        under way or done, or as long as a message is missing. Raises PartiesDisagree if the server
        holds another message than a party played here has sent.
        """
        public, client = self.connection.public, self.connection.client
        state = client.state(self.client_id, self.token())
        run = state.programs.get(program)
        if run is None or run.under_way or run.status == "done" or state.missing.get(program):
            return
        slots = covered_slots(public, program)
        sha256 = {slot: state.sha256_of(*slot) or "" for slot in slots}
        for party, file_name in slots:
            own = self.read(party, file_name) if party in self.plays else None
            if own is not None and digest(own) != sha256[party, file_name]:
                raise PartiesDisagree(
                    f"The server holds another {file_name} than {party} has sent, so its use is "
                    "not permitted. Send the record again."
                )
        permits = [
            issue(key, use, time.time())
            for party, use in uses_of(public, self.client_id, program, sha256).items()
            if (key := self._permit_key(party)) is not None
        ]
        if permits:
            client.give_permits(self.client_id, self.token(), permits)

    def _permit_key(self, party: str) -> Ed25519PrivateKey | None:
        """Return the key of a party's permits; None if it is not played here."""
        data = self.read(party, PERMIT_KEY) if party in self.plays else None
        return None if data is None else Ed25519PrivateKey.from_private_bytes(data)

    def secret_key(self, party: str) -> bytes:
        """Return the secret key that a party holds; raises OutOfStep before there is one."""
        secret = self.read(party, SECRET_KEY)
        if secret is None:
            raise OutOfStep(f"{party} has no key to encrypt or decrypt with: make the keys first.")
        return secret

    def open_result(self, program: str, reader: str) -> tuple[tuple[float, ...], Message]:
        """Fetch and decrypt a program's result as `reader`; return its scores and the message."""
        secret = self.secret_key(reader)
        start = perf_counter()
        result = self.connection.client.get_output(self.client_id, self.token(reader), program)
        seconds = perf_counter() - start
        with self.connection.engine_lock:
            scores = self.connection.engine.open(program, result, secret)
        what = f"encrypted result of {program}"
        sha256, shown = digest(result), preview(result)
        return scores, Message(SERVER, reader, what, len(result), seconds, sha256, shown)

    def start_afresh(self, changed: str) -> tuple[Membership, list[Message]]:
        """Open a new application with the same keys, and send all but `changed`'s slice again.

        The new one is complete before the old one is erased; on an error the old one stays.
        """
        new = Membership.open(self.connection)
        try:
            messages = new._send_again(self, changed)
        except BaseException:
            new.discard()
            raise
        self.discard()
        return new, messages

    def _send_again(self, old: Membership, changed: str) -> list[Message]:
        store = self.connection.store
        messages = []
        for party in self.plays:
            store.carry_over(old.client_id, self.client_id, party, [SECRET_KEY])
            if party != changed:
                store.carry_over(old.client_id, self.client_id, party, [RECORD])
        for slot in self.connection.public.slots:
            message = old.read(slot.party, slot.file_name)
            if message is None or (slot.party == changed and slot.file_name != EVALUATION_KEY):
                continue
            what = f"{slot.file_name}, sent again"
            messages.append(self.send_slot(slot.party, slot.file_name, message, what))
        return messages

    def erase(self) -> None:
        """Erase the application on the server and here.

        If the server reports an error, the parties' files stay, so that the call can be repeated.
        """
        with suppress(UnknownApplication, ApplicationExpired):
            self.connection.client.erase(self.client_id, self.token())
        self.connection.store.erase(self.client_id)

    def discard(self) -> None:
        """Erase the application here, and on the server if it can be reached."""
        try:
            self.erase()
        except TrisealError as error:
            # The server's copy expires by itself, but the keys here must not be left behind.
            log.info("the server did not erase an application: %s", error.message)
            self.connection.store.erase(self.client_id)
