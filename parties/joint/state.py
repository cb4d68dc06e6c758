"""The stored state of the protocol: the messages that a party has sent and received.

It contains no secret key, but it does contain the shares and nonces of commitments not yet opened,
and therefore belongs in the party's own folder.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parties.joint.messages import HELLO, Hello, M, RawKey, decode
from utils.errors import MalformedMessage


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Outgoing(_Stored):
    """A sealed message of this party; every retry sends the same bytes."""

    step: str
    receiver: str | None
    body: bytes = Field(repr=False)
    posted: bool = False


class Kept(_Stored):
    """The payload of a message, and the SHA-256 of its sealed body."""

    digest: str
    payload: bytes = Field(repr=False)


class ProtocolState(_Stored):
    """The state, stored as JSON; `inbox` is by step and sender and includes this party's own."""

    version: Literal[1] = 1
    outbox: list[Outgoing] = []
    inbox: dict[str, dict[str, Kept]] = {}
    share: bytes = Field(default=b"", repr=False)
    nonces: dict[str, bytes] = Field(default={}, repr=False)
    public_key: bytes = Field(default=b"", repr=False)
    masked: dict[str, str] = {}
    """By program, the SHA-256 of the sealed masked scores that all shares have opened."""
    opened: dict[str, str] = {}
    """By program, the SHA-256 of the one result that this party has made its share for."""
    pins: dict[str, RawKey] = {}
    """By party, the public identity key that its hello has to be signed with."""

    @property
    def ready(self) -> bool:
        """True once the public key has been made."""
        return bool(self.public_key)

    @classmethod
    def from_bytes(cls, data: bytes) -> ProtocolState:
        """Restore a state from `to_bytes`; raises MalformedMessage."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise MalformedMessage(
                "The party's protocol file is damaged; join a new application."
            ) from error

    def to_bytes(self) -> bytes:
        """Serialise the state for the party's own file."""
        return self.model_dump_json().encode()

    def senders(self, step: str) -> set[str]:
        """Return the parties that have sent this step."""
        return set(self.inbox.get(step, {}))

    def said(self, kind: type[M], step: str) -> dict[str, M]:
        """Return the messages of this step, by sender."""
        return {
            sender: decode(kind, kept.payload) for sender, kept in self.inbox.get(step, {}).items()
        }

    def keep(self, sender: str, step: str, payload: bytes, body: bytes) -> None:
        """Add a message to the inbox."""
        digest = hashlib.sha256(body).hexdigest()
        self.inbox.setdefault(step, {})[sender] = Kept(digest=digest, payload=payload)

    def hello_of(self, party: str) -> Hello:
        """Return a party's hello."""
        return decode(Hello, self.inbox[HELLO][party].payload)
