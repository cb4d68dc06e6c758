"""The content of a Flower message between the ServerApp and a node: sealed messages, in JSON.

Each Flower message brings a node the sealed messages that wait for it, and its reply brings those
of the lender. Both name the last message that has arrived, so that a lost reply costs nothing: what
is not confirmed is sent again.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from flwr.app import ConfigRecord, RecordDict
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.trainings import (
    LARGEST_TRAINING_MESSAGE,
    MOST_MEMBERS,
    MOST_READ,
    Hex128,
    MemberName,
    MessageId,
    MessageNumber,
)
from utils.errors import MalformedMessage

LARGEST_DELIVERY = 4 << 20
"""Bytes of sealed messages in one Flower message, if it has more than one of them."""
LARGEST_RECORD = (LARGEST_DELIVERY + LARGEST_TRAINING_MESSAGE) * 4 // 3 + MOST_READ * 512

_RECORD, _BODY = "triseal", "json"
_M = TypeVar("_M", bound=BaseModel)
Sealed = Annotated[
    bytes, Field(min_length=1, max_length=LARGEST_TRAINING_MESSAGE * 4 // 3 + 4, repr=False)
]


class _Message(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


class Letter(_Message):
    """A sealed message of a member; `to` is None if it is for all others."""

    id: MessageId
    sender: MemberName
    to: MemberName | None
    number: MessageNumber
    body: Sealed


class Post(_Message):
    """A sealed message of the lender that replies."""

    number: MessageNumber
    to: MemberName | None
    body: Sealed


class Delivery(_Message):
    """The messages that wait for a lender; `confirmed` is the number of its last that has arrived.

    `announce` is true if the coordinator may have gone on without this lender.
    """

    training_id: Hex128
    members: Annotated[tuple[MemberName, ...], Field(min_length=1, max_length=MOST_MEMBERS)]
    letters: Annotated[tuple[Letter, ...], Field(max_length=MOST_READ)] = ()
    confirmed: Annotated[int, Field(ge=0)] = 0
    announce: bool = False


class Reply(_Message):
    """A lender's messages, and the id `after` of the last one that it has taken.

    `code` is the server's part of its code, by which the relay recognises it. `name` is None if the
    node has no code for the training yet.
    """

    name: MemberName | None = None
    code: Annotated[str, Field(max_length=200, repr=False)] = ""
    after: MessageId = 0
    posts: Annotated[tuple[Post, ...], Field(max_length=MOST_READ)] = ()


def content_of(message: Delivery | Reply) -> RecordDict:
    """Return the content of a Flower message."""
    return RecordDict({_RECORD: ConfigRecord({_BODY: message.model_dump_json().encode()})})


def read(kind: type[_M], content: RecordDict) -> _M:
    """Return the message in the content of a Flower message; raises MalformedMessage."""
    record = content.get(_RECORD)
    body = record.get(_BODY) if isinstance(record, ConfigRecord) else None
    if not isinstance(body, bytes) or len(body) > LARGEST_RECORD:
        raise _unreadable()
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _unreadable() from error


def _unreadable() -> MalformedMessage:
    return MalformedMessage(
        "A Flower message is not one of this app, or is too large: the ServerApp or a node runs "
        "another version. Install the same release everywhere."
    )
