"""What a party has said and heard in one application: all that its protocol resumes from.

It holds no secret key. The shares and nonces of what is still to be opened are in it, and so it
belongs into the party's own folder.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parties.joint.messages import HELLO, Hello, M, decode
from utils.errors import MalformedMessage


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Outgoing(_Stored):
    """A sealed message of this party; the very same bytes however often it has to be sent."""

    step: str
    receiver: str | None
    body: bytes = Field(repr=False)
    posted: bool = False


class Kept(_Stored):
    """What a message said, and the SHA-256 of the sealed body that it came in."""

    digest: str
    payload: bytes = Field(repr=False)


class ProtocolState(_Stored):
    """Serialisable as JSON; `inbox` is by step and sender, with this party's own among them."""

    version: Literal[1] = 1
    outbox: list[Outgoing] = []
    inbox: dict[str, dict[str, Kept]] = {}
    seed: bytes = Field(default=b"", repr=False)
    share: bytes = Field(default=b"", repr=False)
    nonces: dict[str, bytes] = Field(default={}, repr=False)
    public_key: bytes = Field(default=b"", repr=False)
    ready: bool = False
    opened: dict[str, str] = {}
    """By program, the SHA-256 of the one result that this party has answered with its part."""

    @classmethod
    def from_bytes(cls, data: bytes) -> ProtocolState:
        """What `to_bytes` gave; raises MalformedMessage."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise MalformedMessage(
                "The party's own file of the protocol is damaged; join a new application."
            ) from error

    def to_bytes(self) -> bytes:
        """For the party's own file."""
        return self.model_dump_json().encode()

    def senders(self, step: str) -> set[str]:
        """Who has said this step."""
        return set(self.inbox.get(step, {}))

    def said(self, kind: type[M], step: str) -> dict[str, M]:
        """What was said at this step, by sender."""
        return {
            sender: decode(kind, kept.payload) for sender, kept in self.inbox.get(step, {}).items()
        }

    def keep(self, sender: str, step: str, payload: bytes, body: bytes) -> None:
        """Take a message in."""
        digest = hashlib.sha256(body).hexdigest()
        self.inbox.setdefault(step, {})[sender] = Kept(digest=digest, payload=payload)

    def hello_of(self, party: str) -> Hello:
        """A party's first word."""
        return decode(Hello, self.inbox[HELLO][party].payload)
