"""Renewal of state that must not be shared with a forked child.

A child inherits its parent's memory and open files, but none of its other threads. Both processes
would then send requests over the same sockets, hold the same file locks and draw the same random
numbers, and a lock held by another thread would never be released. Objects with such state register
here; each is renewed in the child before any other code runs there.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """An object with state that a forked child must replace."""

    def renew_after_fork(self) -> None:
        """Replace the state without using it, since its locks may never be released."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()
_generation = 0


def renew_in_children(owner: Renewable) -> None:
    """Renew `owner` in every process forked from this one; only a weak reference is kept."""
    _renewables.add(owner)


def generation() -> int:
    """Return the number of forks since the first process; unlike a process id, never reused."""
    return _generation


def _in_child() -> None:
    global _generation
    _generation += 1
    for owner in list(_renewables):
        owner.renew_after_fork()


os.register_at_fork(after_in_child=_in_child)
