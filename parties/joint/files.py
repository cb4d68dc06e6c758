"""A member's own files of one application, in its folder of parties/store.py.

`secret_key` is its share of the key, `identity` its signing and exchange keys with the group
secret; neither is in any other file. `protocol.json` has the messages sent and received,
`member.json` the rest. `upload` is the encrypted record that the party has committed to, until it
is sent. The state behind a message is written before the message is sent. The two key files are
erased when nothing is left to open with them, the others when the application ends; among these is
`review_key` of applicant and lender, with which nothing but the texts of a review can be read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.interface import PROGRAMS
from parties.expiry import erase_ended
from parties.joint.channel import Identity
from parties.joint.consents import Consent
from parties.joint.protocol import JointProtocol
from parties.results import PROGRAM_WORDS, Message
from parties.store import EXPIRY, RECORD, REVIEW_KEY, SECRET_KEY, TOKEN, PartyStore
from utils.errors import MalformedMessage, NotAuthorised

IDENTITY = "identity"
PROTOCOL = "protocol.json"
MEMBER = "member.json"
UPLOAD = "upload"

CONSENT = "{program}.consent"

_PHRASES = {
    SECRET_KEY: "its own part of the secret key",
    IDENTITY: "its own signing and exchange keys, and the parties' group secret",
    TOKEN: "its token for the server",
    PROTOCOL: "the messages that it sent and received, with the public key",
    RECORD: "its own record",
    UPLOAD: "its encrypted record, until it is sent",
    REVIEW_KEY: "the key of the texts of a review by a person",
    MEMBER: "its log, and the results that it has opened",
    **{
        CONSENT.format(program=program): f"its signed consent to {PROGRAM_WORDS[program]}"
        for program in PROGRAMS
    },
    **{
        f"{program}.result": f"the encrypted result of {words}"
        for program, words in PROGRAM_WORDS.items()
    },
    EXPIRY: "the time when all of this is erased",
}


class Fetched(BaseModel):
    """Facts about an encrypted result, as fetched: size in bytes, time to fetch it in seconds.

    The time is 0 if the result came with an exchange, which waited for it.
    """

    size: int
    seconds: float
    sha256: str
    preview: str


class Ended(BaseModel):
    """The reason why the application has ended for the party: an error's `code` and message."""

    code: str
    message: str


class MemberRecord(BaseModel):
    """A member's state outside the protocol.

    `token_from` and `token_until` are in seconds since 1970, `code` is the digest of the join
    code's group secret, and `server` the address that the party joined at.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    cursor: int = 0
    encrypt_seconds: float = 0.0
    code: str = ""
    server: str = ""
    ended: Ended | None = None
    token_from: float | None = None
    token_until: float | None = None
    events: list[Message] = []
    results: dict[str, Fetched] = {}
    scores: dict[str, tuple[float, ...]] = {}


class MemberFiles:
    """The files of `party` in the application `client_id`."""

    def __init__(self, store: PartyStore, client_id: str, party: str) -> None:
        self._store, self._client_id, self._party = store, client_id, party
        self._written: dict[str, bytes] = {}

    def joined(self) -> bool:
        """Return True if the party has its token."""
        return self._store.has(self._client_id, self._party, TOKEN)

    def token(self) -> str:
        """Return the party's bearer token; raises NotAuthorised if it has not joined."""
        return self._needed(TOKEN).decode()

    def identity(self) -> Identity | None:
        """Return the party's own keys, or None if they are erased; raises MalformedMessage."""
        data = self.read(IDENTITY)
        return None if data is None else Identity.from_bytes(data)

    def require_code(self, group_secret: bytes, remembered: MemberRecord | None = None) -> None:
        """Raise NotAuthorised unless the party joined with a code that has this group secret."""
        known = (remembered or self.member()).code
        if not hmac.compare_digest(known, _digest(group_secret)):
            raise NotAuthorised(
                f"This machine joined the application as {self._party} with a different code."
            )

    def admit(self, identity: Identity, token: str, member: MemberRecord) -> None:
        """Write the files of a party that joins; the token last, as it marks the joining done."""
        member.code = _digest(identity.group_secret)
        self.write(IDENTITY, identity.to_bytes())
        self.keep_member(member)
        self.write(TOKEN, token.encode())

    def protocol(self) -> tuple[bytes, bytes] | None:
        """Return the protocol's state and its secret, or None if the protocol has not started."""
        state = self.read(PROTOCOL)
        return None if state is None else (state, self.read(SECRET_KEY) or b"")

    def member(self) -> MemberRecord:
        """Return the member's state, empty if there is no file; raises MalformedMessage."""
        try:
            return MemberRecord.model_validate_json(self.read(MEMBER) or b"{}")
        except ValidationError as error:
            raise MalformedMessage(
                f"The file {MEMBER} of {self._party} is damaged; join a new application."
            ) from error

    def save(self, protocol: JointProtocol, member: MemberRecord) -> None:
        """Write every file that has changed; the secret first, since the others depend on it."""
        if protocol.secret:
            self.write(SECRET_KEY, protocol.secret)
        self.write(PROTOCOL, protocol.to_bytes())
        self.keep_member(member)

    def keep_member(self, member: MemberRecord) -> None:
        """Write the member's state."""
        self.write(MEMBER, member.model_dump_json().encode())

    def record(self) -> dict[str, Any] | None:
        """Return the party's own record as last sent, or None."""
        data = self.read(RECORD)
        if data is None:
            return None
        record: dict[str, Any] = json.loads(data)
        return record

    def keep_record(self, record: Mapping[str, Any]) -> None:
        """Write the record; NumPy scalars from a caller's data frame become Python numbers."""
        self.write(RECORD, json.dumps(dict(record), default=lambda item: item.item()).encode())

    def consent(self, program: str) -> Consent | None:
        """Return the party's consent to a program, or None; raises MalformedMessage."""
        data = self.read(CONSENT.format(program=program))
        return None if data is None else Consent.from_bytes(data)

    def keep_consent(self, program: str, consent: Consent) -> None:
        """Write the party's consent to a program."""
        self.write(CONSENT.format(program=program), consent.to_bytes())

    def read(self, name: str) -> bytes | None:
        """Return the contents of a file, or None."""
        data = self._store.read(self._client_id, self._party, name)
        if data is not None:
            self._written[name] = data
        return data

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        self._written.pop(name, None)
        self._store.remove(self._client_id, self._party, name)

    def write(self, name: str, data: bytes) -> None:
        """Write a file, unless it already has these contents."""
        if self._written.get(name) != data:
            self._store.write(self._client_id, self._party, name, data)
            self._written[name] = data

    def holdings(self) -> list[tuple[str, int]]:
        """Return a description and the size in bytes of every file that is not empty."""
        sizes: dict[str, int] = {}
        for path in self._store.folder(self._client_id, self._party).glob("[!.]*"):
            with suppress(FileNotFoundError):  # erased meanwhile
                sizes[path.name] = path.stat().st_size
        order = [*_PHRASES]
        names = sorted(sizes, key=lambda n: (order.index(n) if n in order else len(order), n))
        return [
            (_PHRASES.get(name, f"the encrypted {name.replace('.', ' ')}"), sizes[name])
            for name in names
            if sizes[name]
        ]

    def erase(self) -> None:
        """Remove all files."""
        self._written.clear()
        self._store.erase_party(self._client_id, self._party)

    def expire(self) -> None:
        """Remove all files, except those of a review."""
        self._written.clear()
        erase_ended(self._store, self._client_id, self._party)

    def _needed(self, name: str) -> bytes:
        data = self.read(name)
        if data is None:
            raise NotAuthorised(f"{self._party} has not joined this application on this machine.")
        return data


def _digest(group_secret: bytes) -> str:
    return hashlib.sha256(b"triseal group secret" + group_secret).hexdigest()
