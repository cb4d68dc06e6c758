"""Support for state that must not be shared with a forked child.

A child inherits its parent's memory and open files, but none of its other threads. A socket would
carry both processes' requests, a lock that another thread held stays locked for good, a lock on a
file belongs to both, and a random stream goes on identically in both. The objects concerned
register here, and each is told in the child before anything else runs there.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """An object with state that a forked child must replace."""

    def renew_after_fork(self) -> None:
        """Replace what must not be shared, without using it: its locks may be held for good."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()
_generation = 0


def renew_in_children(owner: Renewable) -> None:
    """Have `owner` renewed in every process that is forked from this one; kept weakly."""
    _renewables.add(owner)


def generation() -> int:
    """Return how many forks lie between this process and the first; unlike an id, never reused."""
    return _generation


def _in_child() -> None:
    global _generation
    _generation += 1
    for owner in list(_renewables):
        owner.renew_after_fork()


os.register_at_fork(after_in_child=_in_child)
