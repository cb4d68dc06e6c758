"""A lender's message of one step, and its binary form.

| bytes | content |
|---|---|
| 4 | `TSU1` |
| 2, 1, 2 | tree (signed), level, attempt; little-endian |
| 32 | SHA-256 of the statement |
| 64 | Ed25519 signature of the statement |
| 32 | commitment to the seed of the self-mask |
| 1 | number of shares, n |
| 80 n | sealed shares, for the other lenders of the roster in its order |
| 8 each | the masked vector, little-endian words |
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Self

from pydantic import ValidationError

from federated.aggregation.group import MOST_LENDERS
from federated.aggregation.masking import MOST_NUMBERS, WORD_BYTES
from federated.aggregation.sealed_share import SEALED_BYTES
from federated.aggregation.statement import DIGEST_BYTES, Step
from utils.errors import MalformedMessage

_MAGIC = b"TSU1"
_HEAD = struct.Struct(f"<4shBH{DIGEST_BYTES}s64s{DIGEST_BYTES}sB")
LARGEST_UPLOAD = _HEAD.size + SEALED_BYTES * (MOST_LENDERS - 1) + WORD_BYTES * MOST_NUMBERS


@dataclass(frozen=True)
class Upload:
    """A masked vector, with all that the coordinator needs to open the sum without its sender."""

    step: Step
    statement: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    commitment: bytes = field(repr=False)
    shares: tuple[bytes, ...] = field(repr=False)
    masked: bytes = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the binary form."""
        step = self.step
        head = _HEAD.pack(
            *(_MAGIC, step.tree, step.level, step.attempt),
            *(self.statement, self.signature, self.commitment, len(self.shares)),
        )
        return b"".join((head, *self.shares, self.masked))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse `to_bytes`; raises MalformedMessage.

        Whether the numbers of shares and words are right is checked by the Opening.
        """
        if not _HEAD.size < len(data) <= LARGEST_UPLOAD:
            raise _unreadable()
        magic, *place, statement, signature, commitment, count = _HEAD.unpack_from(data)
        start = _HEAD.size + SEALED_BYTES * count
        words = len(data) - start
        if magic != _MAGIC or count >= MOST_LENDERS or words <= 0 or words % WORD_BYTES:
            raise _unreadable()
        try:
            step = Step(*place)
        except ValidationError as error:
            raise _unreadable() from error
        shares = tuple(
            data[at : at + SEALED_BYTES] for at in range(_HEAD.size, start, SEALED_BYTES)
        )
        return cls(step, statement, signature, commitment, shares, data[start:])


def _unreadable() -> MalformedMessage:
    return MalformedMessage(
        "A lender's masked vector cannot be read: that lender runs another version, or is faulty. "
        "Run the same release at the coordinator and every lender."
    )
