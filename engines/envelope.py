"""The sealed message: how every key, ciphertext and result travels and is stored.

    8 bytes  magic `TRISEAL1`
    4 bytes  length of the header, little endian, at most 1024
    n bytes  header, JSON: format, engine, profile, model, kind, party, program
    m bytes  payload, in the engine's own format
    32 bytes SHA-256 of all that comes before

The digest finds damage, not forgery: who may send what is the server's matter. Header and digest
are checked before a payload reaches native code, as tfhe-rs does with its conformance checks.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from utils.errors import ForeignMessage, MalformedMessage

MAGIC = b"TRISEAL1"
MAXIMUM_HEADER = 1024
_LENGTH = struct.Struct("<I")
DIGEST_BYTES = 32
OVERHEAD = len(MAGIC) + _LENGTH.size + MAXIMUM_HEADER + DIGEST_BYTES
"""Bytes that an envelope adds at most to its payload."""


class Header(BaseModel):
    """What a message is and whom it is for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    engine: str = Field(max_length=40)
    profile: str = Field(default="default", max_length=40)
    model: str = Field(max_length=64)
    kind: str = Field(max_length=40)
    party: str | None = Field(default=None, max_length=40)
    program: str | None = Field(default=None, max_length=40)


def seal(header: Header, payload: bytes) -> bytes:
    """Header and payload as one message."""
    text = header.model_dump_json().encode()
    body = b"".join((MAGIC, _LENGTH.pack(len(text)), text, payload))
    return body + hashlib.sha256(body).digest()


def unseal(message: bytes | memoryview, intact: bool = False) -> tuple[Header, memoryview]:
    """Split a message into header and payload; raises MalformedMessage.

    `intact` says that the digest has been compared already, while the message arrived.
    """
    start = len(MAGIC) + _LENGTH.size
    if len(message) < start + 2 + DIGEST_BYTES:
        raise MalformedMessage(
            f"A message of {len(message)} bytes is too short; encrypt and send it again."
        )
    if message[: len(MAGIC)] != MAGIC:
        raise MalformedMessage(
            "This is not a Triseal message; send what the party's engine sealed, unchanged."
        )
    (length,) = _LENGTH.unpack_from(message, len(MAGIC))
    if not 2 <= length <= min(MAXIMUM_HEADER, len(message) - start - DIGEST_BYTES):
        raise MalformedMessage("The message's header has an impossible length; send it again.")
    view = memoryview(message)
    body, end = view[:-DIGEST_BYTES], view[-DIGEST_BYTES:]
    if not intact and not hmac.compare_digest(hashlib.sha256(body).digest(), end):
        raise MalformedMessage("The message was damaged or cut on its way; send it again.")
    try:
        header = Header.model_validate_json(bytes(view[start : start + length]))
    except ValidationError as error:
        raise MalformedMessage("The message's header cannot be read; send it again.") from error
    return header, view[start + length : -DIGEST_BYTES]


def unseal_as(expected: Header, message: bytes | memoryview, intact: bool = False) -> memoryview:
    """The payload of a message whose header must equal `expected`; `intact` as in `unseal`.

    Raises MalformedMessage, or ForeignMessage naming the first field that differs.
    """
    header, payload = unseal(message, intact)
    for field in Header.model_fields:
        found, wanted = getattr(header, field), getattr(expected, field)
        if found != wanted:
            raise ForeignMessage(
                f"This message is for another {field} ({_short(found)}); this application needs "
                f"{_short(wanted)}. Load the current model and make the message again."
            )
    return payload


def digest_of(message: bytes | memoryview) -> bytes:
    """The digest at a message's end, by which an intact message can be known again."""
    return bytes(message[-DIGEST_BYTES:])


def _short(value: object) -> str:
    return str(value)[:40]
