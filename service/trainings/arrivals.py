"""Calls that wait for messages of a training, within this process.

News has the ids and receivers of new messages, and the contents of small ones. A waiting call that
has heard of all messages since it read the database, which their consecutive ids tell, responds
from the news; otherwise it reads again. News of one message may come twice, from the call that
posted it and as the database's announcement: it is counted once, by its id.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

INLINE_BYTES = 64 * 1024
"""Largest message whose content is in the news."""
MOST_TOLD, MOST_TOLD_BYTES = 1024, 512 * 1024
"""Messages, and bytes of those to itself, that a waiting call keeps; beyond it, it reads again."""
MOST_EARLY = 64
"""News that a call keeps before it has read; beyond it, it reads again."""
_ANNOUNCED = "training "
_LONGEST = 4000
"""Characters of an announcement; PostgreSQL allows less than 8000 bytes."""

Shown = Mapping[str, Any]
"""A message as responses show it (contract.trainings.TrainingMessage)."""


class Told(NamedTuple):
    """A message of the news: its receiver (None: all others), its bytes, and what responses show.

    The latter is None if it has to be read from the database.
    """

    id: int
    receiver: str | None
    size: int = 0
    shown: Shown | None = None


class News(NamedTuple):
    """Messages that a member of a training has posted.

    Without messages, anything about the training may have changed.
    """

    training_id: str
    sender: str = ""
    messages: tuple[Told, ...] = ()

    def text(self) -> str:
        """Return the text that announces it to other servers; without messages if too long."""
        listed = ",".join(f"{told.id}:{told.receiver or ''}" for told in self.messages)
        text = f"{_ANNOUNCED}{self.training_id} {self.sender} {listed}"
        return text if len(text) <= _LONGEST else News(self.training_id).text()

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the news that a server of this database has announced."""
        training_id, sender, listed = text.removeprefix(_ANNOUNCED).split(" ")
        pairs = (each.split(":") for each in listed.split(",") if each)
        return cls(training_id, sender, tuple(Told(int(i), to or None) for i, to in pairs))


def is_training(text: str) -> bool:
    """Return True if the text of an announcement is about a training."""
    return text.startswith(_ANNOUNCED)


class Waiting:
    """A call that waits; `woken` is set at all news, and cleared by the call."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.changed = False
        """True if the call has to read again, since anything may have changed."""
        self._member: str | None = None
        self._last = 0
        self._told: dict[int, tuple[bool, Shown | None]] = {}
        self._early: list[News] = []
        self._bytes = 0

    def follow(self, member: str, last: int) -> None:
        """Count messages to this member with ids above `last`, the last one at the time of a read.

        News that came before the first call of this method is taken into account.
        """
        self._member, self._last = member, last
        self._told = {each: told for each, told in self._told.items() if each > last}
        early, self._early = self._early, []
        for news in early:
            self._take(news)

    @property
    def count(self) -> int:
        """The number of messages that have come since the read."""
        return sum(mine for mine, _ in self._told.values())

    def whole(self) -> tuple[list[Shown], int] | None:
        """Return the messages since the read and the last id; None if they have to be read."""
        ids = sorted(self._told)
        shown = [shown for mine, shown in map(self._told.__getitem__, ids) if mine]
        gaps = ids != list(range(self._last + 1, self._last + 1 + len(ids)))
        if self.changed or gaps or None in shown:
            return None
        return [each for each in shown if each is not None], self._last + len(ids)

    def tell(self, news: News) -> None:
        """Take news, and wake the call."""
        if not news.messages or len(self._early) >= MOST_EARLY:
            self.changed = True
        elif self._member is None:
            self._early.append(news)
        else:
            self._take(news)
        self.woken.set()

    def _take(self, news: News) -> None:
        if len(self._told) + len(news.messages) > MOST_TOLD:
            self._told.clear()
            self.changed = True
            return
        for told in news.messages:
            if told.id <= self._last or self._told.get(told.id, (False, None))[1] is not None:
                continue
            mine = told.receiver in (None, self._member) and news.sender != self._member
            shown = told.shown if mine and self._bytes + told.size <= MOST_TOLD_BYTES else None
            self._bytes += told.size if shown is not None else 0
            self._told[told.id] = (mine, shown)


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
