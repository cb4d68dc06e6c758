"""Payloads of several parts, each prefixed with its length: 4 bytes, little endian."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from utils.errors import MalformedMessage

_LENGTH = struct.Struct("<I")
PART_OVERHEAD = _LENGTH.size


def join_parts(parts: Sequence[bytes]) -> bytes:
    """Concatenate byte strings, each prefixed with its length."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def split_parts(payload: memoryview, sizes: Sequence[int]) -> list[bytes]:
    """Split a payload into parts of known sizes; raises MalformedMessage."""
    expected = sum(sizes) + _LENGTH.size * len(sizes)
    if len(payload) != expected:
        raise MalformedMessage(
            f"The payload has {len(payload)} bytes instead of {expected}; encrypt and send it "
            "again."
        )
    parts, offset = [], 0
    for size in sizes:
        (length,) = _LENGTH.unpack_from(payload, offset)
        if length != size:
            raise MalformedMessage("The parts of the payload have wrong sizes; encrypt it again.")
        offset += _LENGTH.size
        parts.append(bytes(payload[offset : offset + size]))
        offset += size
    return parts


def read_parts(payload: memoryview, count: int) -> list[bytes]:
    """Split a payload into `count` parts of unknown sizes; raises MalformedMessage."""
    parts, offset = [], 0
    for _ in range(count):
        if offset + _LENGTH.size > len(payload):
            raise MalformedMessage("The payload ends too early; fetch it again.")
        (length,) = _LENGTH.unpack_from(payload, offset)
        offset += _LENGTH.size
        if offset + length > len(payload):
            raise MalformedMessage("The payload ends too early; fetch it again.")
        parts.append(bytes(payload[offset : offset + length]))
        offset += length
    if offset != len(payload):
        raise MalformedMessage("The payload is longer than its parts; fetch it again.")
    return parts
