"""What the parties say to each other, one class a step; JSON inside the sealed body.

    hello ─► seed_commit ─► seed_open ─► share_commit ─► share_open ─► key_check ─► (keys ready)
    agree:decide ─► partial:decide      then      agree:explain ─► partial:explain

Every party says each of them once. All go to all parties but `partial`, which goes to one reader.
A later format gets another `version`, and what this one cannot read is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.errors import MalformedMessage

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[bytes, Field(min_length=1, max_length=64)]
Nonce = Annotated[bytes, Field(min_length=32, max_length=32)]
RawKey = Annotated[bytes, Field(min_length=32, max_length=32)]
Share = Annotated[bytes, Field(min_length=1, max_length=48 * 1024)]
"""Bytes of the engine's own; a sealed message must fit the relay's 64 KiB in base64."""
Name = Annotated[str, Field(max_length=64)]


class JointMessage(BaseModel):
    """Base of the steps' messages."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )

    version: Literal[1] = 1


class Hello(JointMessage):
    """Who the party is in this application, and what application it believes to be in."""

    model_version: Name
    readers: tuple[Name, ...] = Field(min_length=1, max_length=64)
    signing_key: RawKey
    exchange_key: RawKey


class SeedCommit(JointMessage):
    """Commitment to a share of the common public randomness."""

    digest: Digest


class SeedOpen(JointMessage):
    """The share that was committed to."""

    seed: Seed = Field(repr=False)
    nonce: Nonce = Field(repr=False)


class ShareCommit(JointMessage):
    """Commitment to a share of the public key: or the last could choose the key."""

    digest: Digest


class ShareOpen(JointMessage):
    """The share that was committed to."""

    share: Share = Field(repr=False)
    nonce: Nonce = Field(repr=False)


class KeyCheck(JointMessage):
    """A part in opening the known vector, and the public key that the party has computed."""

    share: Share = Field(repr=False)
    public_key_digest: Digest


class Agreement(JointMessage):
    """Consent to open what `program` gives on just these inputs: digests by party."""

    program: Name
    inputs: dict[Name, Digest] = Field(max_length=64)
    public_key_digest: Digest


class Partial(JointMessage):
    """A party's part in opening one result."""

    program: Name
    result_sha256: Digest
    share: Share = Field(repr=False)


HELLO, SEED_COMMIT, SEED_OPEN = "hello", "seed_commit", "seed_open"
SHARE_COMMIT, SHARE_OPEN, KEY_CHECK = "share_commit", "share_open", "key_check"
KEY_STEPS = (HELLO, SEED_COMMIT, SEED_OPEN, SHARE_COMMIT, SHARE_OPEN, KEY_CHECK)
AGREE, PARTIAL = "agree", "partial"

_CLASSES: dict[str, type[JointMessage]] = {
    HELLO: Hello,
    SEED_COMMIT: SeedCommit,
    SEED_OPEN: SeedOpen,
    SHARE_COMMIT: ShareCommit,
    SHARE_OPEN: ShareOpen,
    KEY_CHECK: KeyCheck,
    AGREE: Agreement,
    PARTIAL: Partial,
}

M = TypeVar("M", bound=JointMessage)


def agree_step(program: str) -> str:
    """The step by which a party agrees to open what a program gives."""
    return f"{AGREE}:{program}"


def partial_step(program: str) -> str:
    """The step by which a party gives its part in opening it."""
    return f"{PARTIAL}:{program}"


def class_of(step: str) -> type[JointMessage]:
    """The class of a step's message; raises KeyError for no step of ours."""
    return _CLASSES[step.partition(":")[0]]


def encode(message: JointMessage) -> bytes:
    """The JSON of a message."""
    return message.model_dump_json().encode()


def decode(kind: type[M], payload: bytes) -> M:
    """The message that `encode` gave; raises MalformedMessage."""
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise MalformedMessage(
            f"Another party's {kind.__name__} cannot be read: it runs another version, or has a "
            "fault. Open a new application with the same release on every side."
        ) from error
