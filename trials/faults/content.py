"""Messages of the trial's applications, and exact checks of their results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from engines.interface import (
    DECIDE,
    ENCRYPTED_INPUTS,
    EVALUATION_KEY,
    EXPLANATION_INPUTS,
    PublicModel,
)
from trials import stand_in
from trials.load.prepared import Preparation
from trials.load.work import Work, WrongAnswer

Key = tuple[str, str]
"""Party and file name: a slot."""
ORDER_BYTES = 20
"""Length of the order at the start of a payload for the stand-in engine."""
PREPARED = 6
_KEY_BYTES = 200_000


class Content(ABC):
    """The messages of one application, by slot."""

    messages: Mapping[Key, bytes]

    @abstractmethod
    def right(self, program: str, result: bytes) -> bool:
        """Return True if `result` is exactly the program's result for these messages."""


class Contents(ABC):
    """Creates contents for one engine."""

    public: PublicModel
    takes_orders: bool
    """True if an order can make an evaluation sleep or crash."""

    @abstractmethod
    def draw(self, random: Random, order: str = "") -> Content:
        """Return the content of one application; `order` is for the evaluation."""

    @abstractmethod
    def garbage(self, random: Random, key: Key) -> bytes:
        """Return a message that the slot must refuse."""


@dataclass(frozen=True)
class StandInContent(Content):
    """Content for the stand-in, whose result is the digest of its inputs and hence unique."""

    messages: Mapping[Key, bytes]

    def right(self, program: str, result: bytes) -> bool:
        """Compare the result with the digest of the messages."""
        slots = stand_in.public_model().slots
        needed = {(s.party, s.file_name) for s in slots if program in s.needed_for}
        return result == stand_in.result_of(
            program, {key: m for key, m in self.messages.items() if key in needed}
        )


class StandInContents(Contents):
    """Contents for the stand-in engine of the server's tests."""

    takes_orders = True

    def __init__(self) -> None:
        self.public = stand_in.public_model()

    def draw(self, random: Random, order: str = "") -> StandInContent:
        """Return random payloads; the first party's inputs start with the order."""
        first = self.public.schema_.party_names[0]
        messages = {}
        for slot in self.public.slots:
            key = (slot.party, slot.file_name)
            most = _KEY_BYTES if slot.file_name == EVALUATION_KEY else stand_in.SMALL // 2
            words = order if key == (first, ENCRYPTED_INPUTS) else ""
            payload = words.ljust(ORDER_BYTES).encode() + random.randbytes(random.randint(50, most))
            messages[key] = stand_in.message(*key, payload)
        return StandInContent(messages)

    def garbage(self, random: Random, key: Key) -> bytes:
        """Return random bytes, a truncated message, or a message of another slot."""
        whole = stand_in.message(*key, random.randbytes(500))
        other = stand_in.message("bank", EXPLANATION_INPUTS, random.randbytes(500))
        return random.choice([random.randbytes(400), whole[:-9], whole + b"x", other, b"x"])


@dataclass(frozen=True)
class EngineContent(Content):
    """Content with real keys and ciphertexts; opened scores are compared with the reference."""

    messages: Mapping[Key, bytes]
    number: int
    preparation: Preparation
    work: Work

    def right(self, program: str, result: bytes) -> bool:
        """Open the result and compare its scores."""
        secret = self.preparation.made[self.number].secret
        opened = self.preparation.engine.open(program, result, secret)
        try:
            self.work.require(self.work.applications[self.number], program, opened)
        except WrongAnswer:
            return False
        return True


class EngineContents(Contents):
    """Contents for a real engine: a few applications, encrypted in advance."""

    takes_orders = False

    def __init__(self, url: str, deployment: Path, engine: str, seed: int) -> None:
        """Encrypt the applications; raises errors of the server and the engine."""
        self._work = Work.drawn(deployment, engine, PREPARED, 1.0, seed)
        self._preparation = Preparation(url, self._work, range(PREPARED))
        self.public = self._preparation.public

    def draw(self, random: Random, order: str = "") -> EngineContent:
        """Return one of the applications; a real engine ignores orders."""
        number = random.randrange(PREPARED)
        messages = self._preparation.made[number].messages
        return EngineContent(messages, number, self._preparation, self._work)

    def garbage(self, random: Random, key: Key) -> bytes:
        """Return random bytes, or a truncated message of the slot."""
        whole = self._preparation.made[0].messages[key]
        return random.choice([random.randbytes(400), whole[:-9], b"x"])


def needed(public: PublicModel, program: str = DECIDE) -> list[Key]:
    """Return the slots that a program needs."""
    return [(s.party, s.file_name) for s in public.slots if program in s.needed_for]
