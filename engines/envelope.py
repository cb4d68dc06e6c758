"""The sealed message: the format in which every key, ciphertext and result is sent and stored.

    8 bytes  magic `TRISEAL1`
    4 bytes  length of the header, little endian, at most 1024
    n bytes  header, JSON: format, engine, profile, model, kind, party, program
    m bytes  payload, in the engine's own format
    32 bytes SHA-256 of all preceding bytes

The digest detects damage, not forgery: the server authorises senders. Header and digest are checked
before a payload reaches native code, like the conformance checks of tfhe-rs.
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
"""The most bytes that an envelope adds to its payload."""


class Header(BaseModel):
    """The kind of a message, and the engine, model, party and program it belongs to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    engine: str = Field(max_length=40)
    profile: str = Field(default="default", max_length=40)
    model: str = Field(max_length=64)
    kind: str = Field(max_length=40)
    party: str | None = Field(default=None, max_length=40)
    program: str | None = Field(default=None, max_length=40)


def seal(header: Header, payload: bytes) -> bytes:
    """Return header and payload as one message."""
    text = header.model_dump_json().encode()
    body = b"".join((MAGIC, _LENGTH.pack(len(text)), text, payload))
    return body + hashlib.sha256(body).digest()


def unseal(message: bytes | memoryview, intact: bool = False) -> tuple[Header, memoryview]:
    """Split a message into header and payload; raises MalformedMessage.

    `intact` means that the digest was already verified while the message was received.
    """
    start = len(MAGIC) + _LENGTH.size
    if len(message) < start + 2 + DIGEST_BYTES:
        raise MalformedMessage(
            f"A message of {len(message)} bytes is too short; encrypt and send it again."
        )
    if message[: len(MAGIC)] != MAGIC:
        raise MalformedMessage(
            "This is not a Triseal message; send the message from the party's engine unchanged."
        )
    (length,) = _LENGTH.unpack_from(message, len(MAGIC))
    if not 2 <= length <= min(MAXIMUM_HEADER, len(message) - start - DIGEST_BYTES):
        raise MalformedMessage("The message's header has an invalid length; send it again.")
    view = memoryview(message)
    body, end = view[:-DIGEST_BYTES], view[-DIGEST_BYTES:]
    if not intact and not hmac.compare_digest(hashlib.sha256(body).digest(), end):
        raise MalformedMessage("The message was damaged or truncated in transit; send it again.")
    try:
        header = Header.model_validate_json(bytes(view[start : start + length]))
    except ValidationError as error:
        raise MalformedMessage("The message's header cannot be read; send it again.") from error
    return header, view[start + length : -DIGEST_BYTES]


def unseal_as(expected: Header, message: bytes | memoryview, intact: bool = False) -> memoryview:
    """Return the payload of a message whose header must equal `expected`; `intact` as in `unseal`.

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
    """Return the digest at the end of a message, which identifies an intact message."""
    return bytes(message[-DIGEST_BYTES:])


def _short(value: object) -> str:
    return str(value)[:40]
