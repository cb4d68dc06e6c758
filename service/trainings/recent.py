"""The digests of a member's last messages, which tell a repetition from another message.

They are packed into one column of the member's row, which every post rewrites anyway, so that a
message's row can be deleted as soon as it has arrived.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import NamedTuple

from contract.trainings import MOST_POSTED
from utils.errors import AlreadySent, OutOfStep

KEPT = MOST_POSTED
"""Last messages of a member whose digests are kept: those of the largest call."""
_ENTRY = struct.Struct(">I32s")


class Given(NamedTuple):
    """A message to post: its number, its receiver (None: all others) and its bytes."""

    number: int
    receiver: str | None
    body: bytes


def new_ones(given: Sequence[Given], last: int, recent: bytes) -> tuple[list[Given], bytes]:
    """Return the messages that are not repetitions, and `recent` with their digests.

    `last` is the number of the member's last message. Raises AlreadySent for other bytes or another
    receiver under a known number, and OutOfStep for a lower number that is not known.
    """
    fresh: list[Given] = []
    added = b""
    for one in given:
        digest = _digest(one)
        if one.number > last:
            last = one.number
            fresh.append(one)
            added += _ENTRY.pack(one.number, digest)
        else:
            _require_same(one.number, digest, recent + added, last)
    return fresh, (recent + added)[-KEPT * _ENTRY.size :]


def _digest(one: Given) -> bytes:
    """Return the SHA-256 of a message with its receiver, whose name has no line feed."""
    found = hashlib.sha256(f"{one.receiver or ''}\n".encode())
    found.update(one.body)
    return found.digest()


def _require_same(number: int, digest: bytes, known: bytes, last: int) -> None:
    for each, earlier in _ENTRY.iter_unpack(known):
        if each == number:
            if hmac.compare_digest(earlier, digest):
                return
            raise AlreadySent(f"This member has already sent another message as number {number}.")
    raise OutOfStep(
        f"The last message of this member has the number {last}; send a new one under a higher "
        "number."
    )
