"""The kinds of faults: small functions, registered by name and drawn by weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from trials.faults.world import World

Act = Callable[[World, Random], str]
"""Causes a fault, checks its effect, and returns the outcome in a few words. Raises Broken."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault; `orders` says that it needs an engine which takes orders."""

    name: str
    act: Act
    weight: int
    orders: bool


KINDS: dict[str, Kind] = {}


def fault(name: str, weight: int, orders: bool = False) -> Callable[[Act], Act]:
    """Register a function as a fault with this name."""

    def register(act: Act) -> Act:
        KINDS[name] = Kind(name, act, weight, orders)
        return act

    return register


def drawn(random: Random, takes_orders: bool, only: set[str]) -> Kind:
    """Draw the next fault; only from those named in `only`, unless it is empty."""
    kinds = [
        kind
        for kind in KINDS.values()
        if (takes_orders or not kind.orders) and (not only or kind.name in only)
    ]
    return random.choices(kinds, [kind.weight for kind in kinds])[0]
