"""What the applications of the trial send, and how each of their answers is checked exactly."""

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
"""Of a payload the stand-in engine reads so many as what it is to do."""
PREPARED = 6
_KEY_BYTES = 200_000


class Content(ABC):
    """What one application sends, by slot."""

    messages: Mapping[Key, bytes]

    @abstractmethod
    def right(self, program: str, result: bytes) -> bool:
        """Whether this is exactly what the program has to give on these messages."""


class Contents(ABC):
    """Makes contents; of one engine."""

    public: PublicModel
    takes_orders: bool
    """Whether an evaluation can be told to sleep or to crash."""

    @abstractmethod
    def draw(self, random: Random, order: str = "") -> Content:
        """The content of one application; `order` is for the evaluation."""

    @abstractmethod
    def garbage(self, random: Random, key: Key) -> bytes:
        """What a slot must refuse."""


@dataclass(frozen=True)
class StandInContent(Content):
    """The stand-in's result is the digest of all it was given, so none can be taken for another."""

    messages: Mapping[Key, bytes]

    def right(self, program: str, result: bytes) -> bool:
        """Compares with the digest of what was sent."""
        slots = stand_in.public_model().slots
        needed = {(s.party, s.file_name) for s in slots if program in s.needed_for}
        return result == stand_in.result_of(
            program, {key: m for key, m in self.messages.items() if key in needed}
        )


class StandInContents(Contents):
    """For the stand-in engine of the server's own tests."""

    takes_orders = True

    def __init__(self) -> None:
        self.public = stand_in.public_model()

    def draw(self, random: Random, order: str = "") -> StandInContent:
        """Random payloads; the first party's inputs begin with the order."""
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
        """Random bytes, a message cut short, or another slot's."""
        whole = stand_in.message(*key, random.randbytes(500))
        other = stand_in.message("bank", EXPLANATION_INPUTS, random.randbytes(500))
        return random.choice([random.randbytes(400), whole[:-9], whole + b"x", other, b"x"])


@dataclass(frozen=True)
class EngineContent(Content):
    """Real keys and ciphertexts; the opened scores are compared with the exact reference."""

    messages: Mapping[Key, bytes]
    number: int
    preparation: Preparation
    work: Work

    def right(self, program: str, result: bytes) -> bool:
        """Opens the result."""
        secret = self.preparation.made[self.number].secret
        opened = self.preparation.engine.open(program, result, secret)
        try:
            self.work.require(self.work.applications[self.number], program, opened)
        except WrongAnswer:
            return False
        return True


class EngineContents(Contents):
    """For an engine of the project: a few applications, encrypted beforehand."""

    takes_orders = False

    def __init__(self, url: str, deployment: Path, engine: str, seed: int) -> None:
        """Prepare them; raises what the server and the engine raise."""
        self._work = Work.drawn(deployment, engine, PREPARED, 1.0, seed)
        self._preparation = Preparation(url, self._work, range(PREPARED))
        self.public = self._preparation.public

    def draw(self, random: Random, order: str = "") -> EngineContent:
        """One of them; orders mean nothing to a real engine."""
        number = random.randrange(PREPARED)
        messages = self._preparation.made[number].messages
        return EngineContent(messages, number, self._preparation, self._work)

    def garbage(self, random: Random, key: Key) -> bytes:
        """Random bytes, or a message of the slot that is cut short."""
        whole = self._preparation.made[0].messages[key]
        return random.choice([random.randbytes(400), whole[:-9], b"x"])


def needed(public: PublicModel, program: str = DECIDE) -> list[Key]:
    """The slots without which a program cannot run."""
    return [(s.party, s.file_name) for s in public.slots if program in s.needed_for]
