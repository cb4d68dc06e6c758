"""The fixed part of Concrete's keys and ciphertexts, checked before native code reads them.

Concrete's messages are Cap'n Proto: words of 8 bytes, of which some say how many elements of which
kind follow, and the others are those elements, where anything is valid. The first are the same in
all messages of one kind. One wrong byte there made Concrete loop for minutes, fill its log or
allocate without bound, so they have to equal those of messages made at compilation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

FILE = "structure.json"
_WORD = 8


class Structure(BaseModel):
    """The length in bytes of one kind of message, and its fixed parts: offset and hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    fixed: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, *samples: bytes) -> Structure:
        """What two or more messages of independent content have in common."""
        words = [_words(sample) for sample in samples]
        same = np.all([own == words[0] for own in words[1:]], axis=0)
        edges = np.flatnonzero(np.diff(np.r_[False, same, False].astype(np.int8))) * _WORD
        fixed = tuple(
            (int(start), samples[0][start:end].hex())
            for start, end in zip(edges[::2], edges[1::2], strict=True)
        )
        return cls(size=len(samples[0]), fixed=fixed)

    def holds(self, message: bytes | memoryview) -> bool:
        """Whether a message has this length and these fixed parts."""
        return len(message) == self.size and all(
            message[offset : offset + len(text) // 2] == bytes.fromhex(text)
            for offset, text in self.fixed
        )


class Structures(BaseModel):
    """Of the evaluation key, and of every party's two encrypted inputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation_key: Structure
    inputs: dict[str, tuple[Structure, Structure]]


def _words(message: bytes) -> NDArray[np.uint64]:
    return np.frombuffer(message, np.uint64)
