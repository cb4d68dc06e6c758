"""A training without HTTP, with a simulated clock; all members but those named away have joined."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import select

from contract.trainings import COORDINATOR, TrainingHosted
from service.storage.storage import Storage
from service.trainings.limits import Limit
from service.trainings.recent import Given
from service.trainings.relay import Found, TrainingRelay
from service.trainings.rows import MESSAGES
from service.trainings.trainings import Trainings
from settings import Settings
from tests.service.played import Clock

KEY = "ab" * 32
LENDERS = ("a", "b", "c")


@dataclass
class Group:
    """The services on one storage, and one training."""

    storage: Storage
    settings: Settings
    limit: Limit = field(default_factory=Limit)
    away: Iterable[str] = ()
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.trainings = Trainings(self.storage, self.settings, self.clock)
        self.relay = self.server()
        self.hosted = self.host()
        self.id = self.hosted.training_id
        self.tokens = {COORDINATOR: self.hosted.token}
        for name in set(LENDERS) - set(self.away):
            self.join(name)

    def server(self) -> TrainingRelay:
        """Return the relay of another server on the same database."""
        return TrainingRelay(self.storage, self.clock, self.limit)

    def host(self, call: str | None = None, hours: float = 24) -> TrainingHosted:
        return self.trainings.host(KEY, call or secrets.token_hex(8), LENDERS, hours)

    def join(self, name: str) -> None:
        self.tokens[name] = self.trainings.join(self.id, name, self.hosted.codes[name]).token

    def exchange(self, name: str, *given: tuple[int, str | None, bytes], after: int = 0) -> Found:
        posts = [Given(*one) for one in given]
        return self.relay.exchange(self.id, self.tokens[name], posts, after)

    def read(self, name: str, after: int = 0) -> list[tuple[str, int]]:
        """Return sender and number of the messages above an id."""
        return shown(self.exchange(name, after=after))

    def stored(self) -> list[tuple[str, str | None, int]]:
        """Return the sender, the receiver and the number of all messages in the database."""
        columns = (MESSAGES.c.sender, MESSAGES.c.receiver, MESSAGES.c.number)
        with self.storage.read() as session:
            rows = session.execute(
                select(*columns).where(MESSAGES.c.training_id == self.id).order_by(MESSAGES.c.id)
            )
            return [(row.sender, row.receiver, row.number) for row in rows]


def shown(found: Found) -> list[tuple[str, int]]:
    return [(message["sender"], message["number"]) for message in found.messages]
