"""The kinds of faults on a training: small functions, registered by name and drawn by weight."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random

from trials.federated.training import Training

Act = Callable[[Training, Random], str]
"""Causes a fault in a training that runs, and returns the outcome in a few words."""


@dataclass(frozen=True)
class Kind:
    """One kind of fault, for at least so many `lenders`; with `first`, it acts at the start."""

    name: str
    act: Act
    weight: int
    lenders: int
    first: bool


KINDS: dict[str, Kind] = {}


def fault(
    name: str, weight: int = 10, lenders: int = 3, first: bool = False
) -> Callable[[Act], Act]:
    """Register a function as a fault with this name."""

    def register(act: Act) -> Act:
        KINDS[name] = Kind(name, act, weight, lenders, first)
        return act

    return register


def drawn(random: Random, only: Collection[str] = ()) -> Kind:
    """Draw a kind; only from those named in `only`, unless it is empty."""
    kinds = [kind for kind in KINDS.values() if not only or kind.name in only]
    return random.choices(kinds, [kind.weight for kind in kinds])[0]
