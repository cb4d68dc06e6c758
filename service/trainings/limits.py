"""The limit of messages that wait for one member, and the removal of those that all have.

A member that stays away does not stop the others: nothing is refused to a sender, but the oldest
messages that wait for the absent member are dropped for it. Counting them costs more than a post,
so a count also tells for how many further messages no other count is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from contract.trainings import LARGEST_TRAINING_MESSAGE

MOST_WAITING, MOST_WAITING_BYTES = 512, 16 << 20
"""Messages that wait for one member, and their bytes."""
KEPT_SHARE = 0.75
"""Share of the limit that is left when it was exceeded, so that not every post drops something."""


class Limit(NamedTuple):
    """The largest number of messages that may wait for a member, and of their bytes."""

    messages: int = MOST_WAITING
    bytes: int = MOST_WAITING_BYTES

    def room(self, messages: int = 0, size: int = 0) -> int:
        """Return the number of further messages, of any size, that fit for sure."""
        left = (self.bytes - size) // LARGEST_TRAINING_MESSAGE
        return max(0, min(self.messages - messages, left))

    def dropped_to(self, waiting: Sequence[tuple[int, int]]) -> int:
        """Return the id up to which messages have to be dropped; 0 if all may stay.

        `waiting` has the id and the size in bytes of each, with rising ids. The newest stays.
        """
        total = sum(size for _, size in waiting)
        if len(waiting) <= self.messages and total <= self.bytes:
            return 0
        kept = Limit(int(self.messages * KEPT_SHARE), int(self.bytes * KEPT_SHARE))
        count, dropped = len(waiting), 0
        for each, size in waiting[:-1]:
            if count <= kept.messages and total <= kept.bytes:
                break
            dropped, count, total = each, count - 1, total - size
        return dropped


class Floor(NamedTuple):
    """The ids up to which messages to all have arrived everywhere.

    It is `second` for the messages of the member `lowest`, who does not receive its own, and
    `first` for those of all others.
    """

    lowest: str
    first: int
    second: int


def floor_of(cursors: Mapping[str, int]) -> Floor:
    """Return the floor of at least two members, by their cursors."""
    (first, lowest), (second, _), *_ = sorted((at, name) for name, at in cursors.items())
    return Floor(lowest, first, second)
