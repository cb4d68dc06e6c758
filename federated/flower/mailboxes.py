"""The sealed messages that wait for each member of a training, in the coordinator's folder.

Plays the part that the server has in trainings without Flower. The file makes a ServerApp that was
killed and started again go on where it was.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from contract.trainings import COORDINATOR, MOST_READ
from federated.agents.membership import START_NUMBER
from federated.agents.posting import fitting
from federated.agents.state_file import StateFile
from federated.flower.messages import LARGEST_DELIVERY, Letter
from utils.errors import InvalidRequest

STATE_FILE = "mailboxes.sqlite"
MOST_WAITING, LARGEST_WAITING = 256, 16 << 20
"""Messages that wait for one member, and their bytes; more are dropped, and the member told."""

_PART = "mailboxes"


class _State(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    training_id: str
    codes: dict[str, str] = Field(repr=False)
    last: dict[str, int]
    next_id: int = 1
    waiting: Annotated[dict[str, list[Letter]], Field(repr=False)]
    dropped: set[str] = set()
    closed: bool = False


class Mailboxes:
    """Messages by receiver. The caller calls `save` before anything leaves that follows from them.

    Not thread-safe.
    """

    def __init__(self, home: Path) -> None:
        self._file = StateFile.open(home / STATE_FILE)
        saved = self._file.part(_PART)
        self._state = None if saved is None else _State.model_validate_json(saved)

    def host(self, members: Iterable[str]) -> dict[str, str]:
        """Begin a training in place of the one before; returns a fresh code for each member."""
        names = sorted(members)
        codes = {name: secrets.token_urlsafe(16) for name in names}
        self._state = _State(
            training_id=os.urandom(16).hex(),
            codes={name: _digest(code) for name, code in codes.items()},
            last=dict.fromkeys((COORDINATOR, *names), 0),
            waiting={name: [] for name in (COORDINATOR, *names)},
        )
        self.save()
        return codes

    @property
    def hosted(self) -> bool:
        """True if the folder has a training."""
        return self._state is not None

    @property
    def training_id(self) -> str:
        return self._known().training_id

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the lenders, sorted."""
        return tuple(sorted(self._known().codes))

    @property
    def is_open(self) -> bool:
        """False once the training was closed."""
        return not self._known().closed

    def is_member(self, name: str, code: str) -> bool:
        """Return True if this is the code of the lender of this name."""
        expected = self._known().codes.get(name, "")
        return hmac.compare_digest(expected.encode(), _digest(code).encode())

    def last(self, sender: str) -> int:
        """Return the number of the last message of a member."""
        return self._known().last[sender]

    def post(self, sender: str, to: str | None, number: int, body: bytes) -> None:
        """Keep a message for its receivers; one that was posted before is ignored."""
        state = self._known()
        if number <= state.last[sender] or (to is not None and to not in state.waiting):
            return
        state.last[sender] = number
        for name in state.waiting if to is None else (to,):
            if name != sender:
                letter = Letter(id=state.next_id, sender=sender, to=to, number=number, body=body)
                state.waiting[name].append(letter)
                state.next_id += 1
                self._limit(name)

    def waiting(self, member: str) -> Sequence[Letter]:
        """Return all messages for a member, oldest first."""
        return self._known().waiting[member]

    def batch(self, member: str) -> tuple[Letter, ...]:
        """Return the first messages for a member, as many as one delivery may have."""
        return tuple(fitting(self._known().waiting[member], MOST_READ, LARGEST_DELIVERY))

    def confirm(self, member: str, after: int) -> None:
        """Forget the messages for a member up to the id `after`, which it has taken."""
        waiting = self._known().waiting
        waiting[member] = [letter for letter in waiting[member] if letter.id > after]

    def was_dropped(self, member: str) -> bool:
        """Return True, once, if messages for a member were dropped."""
        dropped = self._known().dropped
        found = member in dropped
        dropped.discard(member)
        return found

    def shut(self) -> None:
        """End the training for all members."""
        self._known().closed = True
        self.save()

    def save(self) -> None:
        """Write all to the file; raises StoreDamaged."""
        self._file.save({_PART: self._known().model_dump_json().encode()})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _limit(self, member: str) -> None:
        """Drop what waits for a member that was away for long, except all first messages."""
        state = self._known()
        letters = state.waiting[member]
        size = sum(len(letter.body) for letter in letters)
        if len(letters) <= MOST_WAITING and size <= LARGEST_WAITING:
            return
        state.waiting[member] = [one for one in letters if one.number <= START_NUMBER]
        state.dropped.add(member)

    def _known(self) -> _State:
        if self._state is None:
            raise InvalidRequest("There is no training in the coordinator's folder yet.")
        return self._state


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
