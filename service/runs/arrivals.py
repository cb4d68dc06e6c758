"""Calls that wait for messages of a training, within this process.

News has the ids and receivers of new messages, so that a waiting call reads the database only when
there is as much as it waits for. News of one message may come twice: from the call that posted it
and as the database's announcement. It is counted once, by its id.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self

_ANNOUNCED = "training "
_LONGEST = 4000
"""Characters of an announcement; PostgreSQL allows less than 8000 bytes."""


class News(NamedTuple):
    """Messages that a member of a training has posted: the id and receiver (None: all) of each.

    Without messages, anything about the training may have changed.
    """

    training_id: str
    sender: str = ""
    messages: tuple[tuple[int, str | None], ...] = ()

    def text(self) -> str:
        """Return the text that announces it to other servers; without messages if too long."""
        listed = ",".join(f"{each}:{receiver or ''}" for each, receiver in self.messages)
        text = f"{_ANNOUNCED}{self.training_id} {self.sender} {listed}"
        return text if len(text) <= _LONGEST else News(self.training_id).text()

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the news that another server of this database has announced."""
        training_id, sender, listed = text.removeprefix(_ANNOUNCED).split(" ")
        pairs = (each.split(":") for each in listed.split(",") if each)
        return cls(training_id, sender, tuple((int(i), to or None) for i, to in pairs))


def is_training(text: str) -> bool:
    """Return True if the text of an announcement is about a training."""
    return text.startswith(_ANNOUNCED)


class Waiting:
    """A call that waits; `woken` is set at all news, and cleared by the call."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.changed = False
        """True if something else than known messages may have changed since the last read."""
        self._told: dict[int, tuple[str, str | None]] = {}

    def count(self, member: str, last: int) -> int:
        """Return the number of messages to a member with ids above `last`, the last id read."""
        self._told = {each: facts for each, facts in self._told.items() if each > last}
        return sum(
            receiver == member or (receiver is None and sender != member)
            for sender, receiver in self._told.values()
        )

    def tell(self, news: News) -> None:
        """Take news, and wake the call."""
        self._told.update((each, (news.sender, receiver)) for each, receiver in news.messages)
        self.changed = self.changed or not news.messages
        self.woken.set()


class Arrivals:
    """All waiting calls by training; must be created in a running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: defaultdict[str, set[Waiting]] = defaultdict(set)

    def tell(self, news: Sequence[News]) -> None:
        """Pass news on; call it in the event loop."""
        for each in news:
            for waiting in self._waiting.get(each.training_id, ()):
                waiting.tell(each)

    def announced(self, text: str) -> None:
        """Pass on the text of an announcement; may be called in any thread."""
        self._loop.call_soon_threadsafe(self.tell, (News.read(text),))

    def changed(self, training_id: str) -> None:
        """Wake all calls of a training; may be called in any thread."""
        self._loop.call_soon_threadsafe(self.tell, (News(training_id),))

    def changed_all(self) -> None:
        """Wake all calls, since anything may have changed; may be called in any thread."""
        self._loop.call_soon_threadsafe(
            lambda: self.tell([News(training_id) for training_id in list(self._waiting)])
        )

    @contextmanager
    def wait(self, training_id: str) -> Iterator[Waiting]:
        """Yield a waiting call that is told all news of a training until the end of the context."""
        waiting = Waiting()
        self._waiting[training_id].add(waiting)
        try:
            yield waiting
        finally:
            self._waiting[training_id].discard(waiting)
            if not self._waiting[training_id]:
                del self._waiting[training_id]
