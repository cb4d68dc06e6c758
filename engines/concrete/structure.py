"""The fixed part of Concrete's keys and ciphertexts, checked before native code reads them.

Concrete's messages are in Cap'n Proto format: words of 8 bytes, some of which give the number and
kind of the elements that follow; the others are those elements, for which any value is valid. The
former are the same in all messages of one kind. A single wrong byte in them made Concrete loop for
minutes, fill its log or allocate without limit, so they must equal those of messages made at
compilation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

FILE = "structure.json"
_WORD = 8


class Structure(BaseModel):
    """The size in bytes of one kind of message, and its fixed parts: (offset, hexadecimal)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    fixed: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, *samples: bytes) -> Structure:
        """Return the common structure of two or more messages with independent content."""
        words = [_words(sample) for sample in samples]
        same = np.all([own == words[0] for own in words[1:]], axis=0)
        edges = np.flatnonzero(np.diff(np.r_[False, same, False].astype(np.int8))) * _WORD
        fixed = tuple(
            (int(start), samples[0][start:end].hex())
            for start, end in zip(edges[::2], edges[1::2], strict=True)
        )
        return cls(size=len(samples[0]), fixed=fixed)

    def holds(self, message: bytes | memoryview) -> bool:
        """Return True if a message has this size and these fixed parts."""
        return len(message) == self.size and all(
            message[offset : offset + len(text) // 2] == bytes.fromhex(text)
            for offset, text in self.fixed
        )


class Structures(BaseModel):
    """The structures of the evaluation key and of every party's two encrypted inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation_key: Structure
    inputs: dict[str, tuple[Structure, Structure]]


def _words(message: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(message, np.uint64)
