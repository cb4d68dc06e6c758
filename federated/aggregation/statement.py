"""The step of a secure sum, and the statement that every lender of its roster signs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from functools import lru_cache
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from parties.joint.channel import framed

DIGEST_BYTES = 32
MOST_TREES, MOST_LEVELS, MOST_ATTEMPTS = 1000, 16, 1 << 16
_DOMAIN = b"triseal federated statement 1"


@dataclass(frozen=True, order=True)
class Step:
    """One secure sum: a level of a tree, and the attempt at it. Steps are ordered in this order.

    Tree -1 is the count of rows before the first tree. Raises pydantic's ValidationError.
    """

    tree: Annotated[int, Field(strict=True, ge=-1, le=MOST_TREES)]
    level: Annotated[int, Field(strict=True, ge=0, lt=MOST_LEVELS)] = 0
    attempt: Annotated[int, Field(strict=True, ge=0, lt=MOST_ATTEMPTS)] = 0

    def __str__(self) -> str:
        return f"tree {self.tree}, level {self.level}, attempt {self.attempt}"


@plain_dataclass(frozen=True)
class Statement:
    """All that the lenders of a step must agree on before its sum is opened.

    `transcript` is the digest of all earlier announcements of the run, `text` the bytes that are
    signed, and `digest` their SHA-256, on which every seed of the step depends.
    """

    run: bytes = field(repr=False)
    step: Step
    roster: tuple[str, ...]
    transcript: bytes = field(repr=False)
    text: bytes = field(repr=False)
    digest: bytes = field(repr=False)


@lru_cache(maxsize=64)
def statement(run: bytes, step: Step, roster: tuple[str, ...], transcript: bytes) -> Statement:
    """Return the statement; raises ValueError if `run` or `transcript` is not a digest."""
    if len(run) != DIGEST_BYTES or len(transcript) != DIGEST_BYTES:
        raise ValueError(f"the run and the transcript are digests of {DIGEST_BYTES} bytes")
    place = (number.to_bytes(4, "little", signed=True) for number in _numbers(step))
    text = framed(_DOMAIN, run, *place, framed(*(name.encode() for name in roster)), transcript)
    return Statement(run, step, roster, transcript, text, hashlib.sha256(text).digest())


def _numbers(step: Step) -> tuple[int, int, int]:
    return step.tree, step.level, step.attempt
