"""The kinds of faults on uses: small functions, registered by name and drawn by weight."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random

from trials.uses.episode import Episode

Act = Callable[[Episode, Random], str]
"""Causes a fault, checks its effect, and returns the outcome in a few words. Raises Broken."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault. `gateway` says that it needs an owner whom the server's gateway knows."""

    name: str
    act: Act
    weight: int
    gateway: bool


KINDS: dict[str, Kind] = {}


def fault(name: str, weight: int = 10, gateway: bool = False) -> Callable[[Act], Act]:
    """Register a function as a fault with this name."""

    def register(act: Act) -> Act:
        KINDS[name] = Kind(name, act, weight, gateway)
        return act

    return register


def drawn(random: Random, only: Collection[str] = ()) -> Kind:
    """Draw the next fault; only from those named in `only`, unless it is empty."""
    kinds = [kind for kind in KINDS.values() if not only or kind.name in only]
    return random.choices(kinds, [kind.weight for kind in kinds])[0]
