"""Bytes of each round of a training; a round opens the sums of one level of one tree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from federated.agents.progress import TreeView


@dataclass(frozen=True)
class Round:
    """One round: its tree and level, from 0, and the bytes sent and received for it."""

    tree: int
    level: int
    bytes: int


class Rounds:
    """The rounds since this process began; earlier ones are not known."""

    def __init__(self, trees: Sequence[TreeView]) -> None:
        self._last, self._total = _newest(trees), 0
        self._rounds: tuple[Round, ...] = ()

    def note(self, trees: Sequence[TreeView], total: int) -> None:
        """Add a round if another level was opened; `total` are all bytes of the process so far.

        If several levels were learnt at once, after an absence, all bytes count for the last.
        """
        newest = _newest(trees)
        if newest is None or newest == self._last:
            return
        self._rounds += (Round(*newest, total - self._total),)
        self._last, self._total = newest, total

    def all(self) -> tuple[Round, ...]:
        """Return the rounds, oldest first."""
        return self._rounds


def _newest(trees: Sequence[TreeView]) -> tuple[int, int] | None:
    return (trees[-1].number, trees[-1].levels - 1) if trees else None
