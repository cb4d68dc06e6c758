"""The kinds of faults: each one small function, found by its name and drawn by its weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from trials.faults.world import World

Act = Callable[[World, Random], str]
"""Does a fault and looks what comes of it; answers its outcome in a few words. Raises Broken."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault; `orders` says that it needs an engine which takes orders."""

    name: str
    act: Act
    weight: int
    orders: bool


KINDS: dict[str, Kind] = {}


def fault(name: str, weight: int, orders: bool = False) -> Callable[[Act], Act]:
    """Register a function under the name that the table shows."""

    def register(act: Act) -> Act:
        KINDS[name] = Kind(name, act, weight, orders)
        return act

    return register


def drawn(random: Random, takes_orders: bool, only: set[str]) -> Kind:
    """The next fault; of those named `only` where there are any."""
    kinds = [
        kind
        for kind in KINDS.values()
        if (takes_orders or not kind.orders) and (not only or kind.name in only)
    ]
    return random.choices(kinds, [kind.weight for kind in kinds])[0]
