"""The messages that the parties send each other, one class per step; JSON in the sealed body.

    hello ─► share_commit ─► share_open ─► (keys ready) ─► record_commit ─► (uploads)
    agree:decide ─► confirm:decide ─► partial:decide

and the same of explain and of reasons; if only signs are opened, after partial:decide

    confirm:decide_sign ─► partial:decide_sign

as after partial:explain, and confirm:reasons_levels ─► partial:reasons_levels after
partial:reasons.

Every party sends each step once. Every message goes to all parties, except a `partial` that opens a
score or a sign, which goes to one reader. A later format gets another `version`; an unreadable
message is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.interface import MASKED_BY
from utils.errors import MalformedMessage
from utils.witness_list import MOST_WITNESSES

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[bytes, Field(min_length=1, max_length=64)]
Nonce = Annotated[bytes, Field(min_length=32, max_length=32)]
RawKey = Annotated[bytes, Field(min_length=32, max_length=32)]
Signature = Annotated[bytes, Field(min_length=64, max_length=64)]
Share = Annotated[bytes, Field(min_length=1, max_length=48 * 1024)]
"""Bytes in the engine's own format; sealed and in base64 they must fit the relay's 64 KiB."""
Name = Annotated[str, Field(max_length=64)]


class JointMessage(BaseModel):
    """Base class of all messages."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )

    version: Literal[1] = 1


class Hello(JointMessage):
    """The party's public keys, and the model and readers that it expects of this application.

    `reasons_readers` is empty if the model states no reasons. `witnesses` are the names, by public
    key, of those without whose signature nothing is opened.
    `seed` is the party's share of the common randomness, which is a public hash of all shares. The
    last party to send its share can try several, but each gives a hash as random as any other.
    `identity_signature` covers all other fields; see parties/joint/identities.py.
    """

    model_version: Name
    model_sha256: Digest
    client_sha256: Digest
    readers: tuple[Name, ...] = Field(min_length=1, max_length=64)
    explanation_readers: tuple[Name, ...] = Field(min_length=1, max_length=64)
    reasons_readers: tuple[Name, ...] = Field(default=(), max_length=64)
    witnesses: dict[Digest, Name] = Field(default={}, max_length=MOST_WITNESSES)
    signing_key: RawKey
    exchange_key: RawKey
    seed: Seed = Field(repr=False)
    identity_key: RawKey
    identity_signature: Signature = Field(repr=False)


class ShareCommit(JointMessage):
    """Commitment to a share of the public key; without it the last party could choose the key."""

    digest: Digest


class ShareOpen(JointMessage):
    """The share of the public key that was committed to."""

    share: Share = Field(repr=False)
    nonce: Nonce = Field(repr=False)


class RecordCommit(JointMessage):
    """Commitment to the sender's encrypted record, before any party uploads its own.

    `inputs` is the SHA-256 of the sealed record. Without it, a party could wait for another's
    ciphertext and send a copy, or a modified copy, as its own. `masks` is the SHA-256 of the sealed
    masks of the decision, if its score is opened under masks, for the same reason: another's bit
    could be copied into a mask. `nonce` is a commitment to 32 random bytes, opened in the agreement
    to the decision: no party can choose its nonce after another's.
    """

    inputs: Digest
    masks: Digest | None = None
    nonce: Digest


class Agreement(JointMessage):
    """Consent to open the result of `program` on exactly these inputs: digests by party.

    `masks` is the digest of the sender's own encrypted masks, if scores are opened under masks; for
    the decision, that in the sender's RecordCommit. `nonce` opens the commitment in that message;
    only the agreement to the decision has it.
    """

    program: Name
    inputs: dict[Name, Digest] = Field(max_length=64)
    public_key_digest: Digest
    masks: Digest | None = None
    nonce: Nonce | None = Field(default=None, repr=False)


class Confirmation(JointMessage):
    """The digest of the only result of a program that the sender makes a decryption share for.

    A party makes its share once all have confirmed the same result. A folder that is put back to an
    earlier state therefore opens no second result, as long as one other party has kept its own.
    """

    program: Name
    result_sha256: Digest


class Partial(JointMessage):
    """A party's decryption share of one result."""

    program: Name
    result_sha256: Digest
    share: Share = Field(repr=False)


HELLO, SHARE_COMMIT, SHARE_OPEN = "hello", "share_commit", "share_open"
KEY_STEPS = (HELLO, SHARE_COMMIT, SHARE_OPEN)
RECORD_COMMIT = "record_commit"
FIRST_STEPS = (*KEY_STEPS, RECORD_COMMIT)
"""The steps before the first agreement, in order; each is for all parties."""
AGREE, CONFIRM, PARTIAL = "agree", "confirm", "partial"

_CLASSES: dict[str, type[JointMessage]] = {
    HELLO: Hello,
    SHARE_COMMIT: ShareCommit,
    SHARE_OPEN: ShareOpen,
    RECORD_COMMIT: RecordCommit,
    AGREE: Agreement,
    CONFIRM: Confirmation,
    PARTIAL: Partial,
}

M = TypeVar("M", bound=JointMessage)


def agree_step(program: str) -> str:
    """Return the step in which a party agrees to open the program's result."""
    return f"{AGREE}:{program}"


def agreement_step(program: str) -> str:
    """Return the step in which a party agrees to the run of a program.

    To a comparison it agrees by its decryption share of the masked scores.
    """
    masked = MASKED_BY.get(program)
    return agree_step(program) if masked is None else partial_step(masked)


def confirm_step(program: str) -> str:
    """Return the step in which a party confirms the program's result."""
    return f"{CONFIRM}:{program}"


def partial_step(program: str) -> str:
    """Return the step in which a party sends its decryption share of the program's result."""
    return f"{PARTIAL}:{program}"


def class_of(step: str) -> type[JointMessage]:
    """Return the message class of a step; raises KeyError for an unknown step."""
    return _CLASSES[step.partition(":")[0]]


def encode(message: JointMessage) -> bytes:
    """Return the message as JSON."""
    return message.model_dump_json().encode()


def decode(kind: type[M], payload: bytes) -> M:
    """Return the message encoded by `encode`; raises MalformedMessage."""
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        raise MalformedMessage(
            f"Another party's {kind.__name__} cannot be read: that party runs another version, or "
            "is faulty. Open a new application with the same release at every party."
        ) from error
