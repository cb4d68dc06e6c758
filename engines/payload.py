"""Payloads of several parts: each part behind its length, 4 bytes, little endian."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from utils.errors import MalformedMessage

_LENGTH = struct.Struct("<I")
PART_OVERHEAD = _LENGTH.size


def join_parts(parts: Sequence[bytes]) -> bytes:
    """Byte strings one after another, each behind its length."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def split_parts(payload: memoryview, sizes: Sequence[int]) -> list[bytes]:
    """The parts of a payload, whose sizes are known; raises MalformedMessage."""
    expected = sum(sizes) + _LENGTH.size * len(sizes)
    if len(payload) != expected:
        raise MalformedMessage(
            f"A payload of {len(payload)} bytes cannot be right ({expected} expected); encrypt and "
            "send it again."
        )
    parts, offset = [], 0
    for size in sizes:
        (length,) = _LENGTH.unpack_from(payload, offset)
        if length != size:
            raise MalformedMessage("The payload's parts have wrong sizes; encrypt it again.")
        offset += _LENGTH.size
        parts.append(bytes(payload[offset : offset + size]))
        offset += size
    return parts


def read_parts(payload: memoryview, count: int) -> list[bytes]:
    """The `count` parts of a payload whose sizes are not known ahead; raises MalformedMessage."""
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
        raise MalformedMessage("The payload is longer than it says; fetch it again.")
    return parts
