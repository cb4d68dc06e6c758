"""A member's own files of one application, in its folder of parties/store.py.

`secret_key` is its part of the key, `identity` its signing and exchange keys with the group secret;
neither is in any other file. `protocol.json` is what it said and heard, `member.json` the rest.
What a message rests on is written before the message leaves. The two files of keys are erased when
nothing is left to open with them, the others at the application's end.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from parties.joint.channel import Identity
from parties.joint.protocol import JointProtocol
from parties.results import Message
from parties.store import EXPIRY, RECORD, SECRET_KEY, TOKEN, PartyStore
from utils.errors import MalformedMessage, NotAuthorised

IDENTITY = "identity"
PROTOCOL = "protocol.json"
MEMBER = "member.json"

_PHRASES = {
    SECRET_KEY: "its own part of the secret key",
    IDENTITY: "its own signing and exchange keys, and the parties' group secret",
    TOKEN: "its token for the server",
    PROTOCOL: "what it said and heard, with the public key",
    RECORD: "its own record",
    MEMBER: "its log, and what it has opened",
    EXPIRY: "when all of this is erased",
}


class Fetched(BaseModel):
    """A result as it came."""

    size: int
    seconds: float
    sha256: str
    preview: str


class Ended(BaseModel):
    """Why the application is over for the party: the `code` and message of an error."""

    code: str
    message: str


class MemberRecord(BaseModel):
    """What a member remembers beside the protocol: `sent` is the digest of its sealed record.

    `token_from` and `token_until` are in seconds since 1970, `code` is the digest of the join
    code's group secret, and `server` the address where it was used.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    cursor: int = 0
    sent: str | None = None
    arrived: bool = False
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
        """Whether the party has its token."""
        return self._store.has(self._client_id, self._party, TOKEN)

    def token(self) -> str:
        """The party's bearer token; raises NotAuthorised where it has not joined."""
        return self._needed(TOKEN).decode()

    def identity(self) -> Identity | None:
        """The party's own keys, or None where they are erased; raises MalformedMessage."""
        data = self.read(IDENTITY)
        return None if data is None else Identity.from_bytes(data)

    def require_code(self, group_secret: bytes, remembered: MemberRecord | None = None) -> None:
        """Compare with the code that the party joined with; raises NotAuthorised."""
        known = (remembered or self.member()).code
        identity = None if known else self.identity()  # joined with an earlier release
        if identity is not None:
            known = _digest(identity.group_secret)
        if not hmac.compare_digest(known, _digest(group_secret)):
            raise NotAuthorised(
                f"This machine has joined this application as {self._party} with another code."
            )

    def admit(self, identity: Identity, token: str, member: MemberRecord) -> None:
        """Keep what joining gave; the token last, since with it the party has joined."""
        member.code = _digest(identity.group_secret)
        self.write(IDENTITY, identity.to_bytes())
        self.keep_member(member)
        self.write(TOKEN, token.encode())

    def protocol(self) -> tuple[bytes, bytes] | None:
        """The protocol's state and its secret, or None where nothing has been said yet."""
        state = self.read(PROTOCOL)
        return None if state is None else (state, self.read(SECRET_KEY) or b"")

    def member(self) -> MemberRecord:
        """What the member remembers; raises MalformedMessage."""
        try:
            return MemberRecord.model_validate_json(self.read(MEMBER) or b"{}")
        except ValidationError as error:
            raise MalformedMessage(
                f"The file {MEMBER} of {self._party} is damaged; join a new application."
            ) from error

    def save(self, protocol: JointProtocol, member: MemberRecord) -> None:
        """Keep everything that has changed; the secret first, since the rest speaks of it."""
        if protocol.secret:
            self.write(SECRET_KEY, protocol.secret)
        self.write(PROTOCOL, protocol.to_bytes())
        self.keep_member(member)

    def keep_member(self, member: MemberRecord) -> None:
        """Keep what the member remembers."""
        self.write(MEMBER, member.model_dump_json().encode())

    def record(self) -> dict[str, Any] | None:
        """The party's own record, as it was sent last, or None."""
        data = self.read(RECORD)
        if data is None:
            return None
        record: dict[str, Any] = json.loads(data)
        return record

    def keep_record(self, record: Mapping[str, Any]) -> None:
        """Keep the record; numpy scalars of a caller's data frame become Python's own."""
        self.write(RECORD, json.dumps(dict(record), default=lambda item: item.item()).encode())

    def read(self, name: str) -> bytes | None:
        """A file, or None."""
        data = self._store.read(self._client_id, self._party, name)
        if data is not None:
            self._written[name] = data
        return data

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        self._written.pop(name, None)
        self._store.remove(self._client_id, self._party, name)

    def write(self, name: str, data: bytes) -> None:
        """Write a file, unless that is what it holds."""
        if self._written.get(name) != data:
            self._store.write(self._client_id, self._party, name, data)
            self._written[name] = data

    def holdings(self) -> list[tuple[str, int]]:
        """What lies there: a phrase for people, and bytes."""
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
        """Remove them all."""
        self._written.clear()
        self._store.erase_party(self._client_id, self._party)

    def _needed(self, name: str) -> bytes:
        data = self.read(name)
        if data is None:
            raise NotAuthorised(f"{self._party} has not joined this application on this machine.")
        return data


def _digest(group_secret: bytes) -> str:
    return hashlib.sha256(b"triseal group secret" + group_secret).hexdigest()
