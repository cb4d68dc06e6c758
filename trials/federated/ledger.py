"""The openings that a coordinator has, or could have, made of everything that lenders have sent.

A sum of a step can be opened if its whole roster has uploaded under one statement, and for each of
them the seed of its mask was revealed, by itself or by enough shares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from federated.aggregation.statement import Step
from trials.faults.application import Broken
from trials.federated.journal import Event

ONE_SUM = "one sum a level"
LOCKED = "no seed leaves before its lock is saved"
FORWARD = "no lock goes back"


@dataclass
class _Statement:
    """One statement: who has uploaded which vectors, revealed a seed, or a share of whose."""

    step: Step
    roster: tuple[str, ...]
    vectors: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    seeds: set[str] = field(default_factory=set)
    shares: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def opens(self, threshold: int) -> bool:
        return all(
            name in self.vectors and (name in self.seeds or len(self.shares[name]) >= threshold)
            for name in self.roster
        )


def require_one_sum(
    lenders: Mapping[str, Iterable[Event]], coordinator: Iterable[Event], threshold: int
) -> int:
    """Return the number of sums that can be opened; raises Broken if a level has two."""
    found: dict[str, _Statement] = {}
    for name, events in lenders.items():
        for event in _left(events):
            _note(found, name, event)
    opened: dict[tuple[int, int], set[str]] = defaultdict(set)
    for digest, one in found.items():
        for name, vectors in one.vectors.items():
            if len(vectors) > 1:
                raise Broken(ONE_SUM, f"{name} masked two vectors for {one.step}")
        if one.opens(threshold):
            opened[one.step.tree, one.step.level].add(digest)
    sums: dict[tuple[int, int], set[str]] = defaultdict(set)
    for event in coordinator:
        if event.kind == "opened" and event.step is not None:
            opened[event.step.tree, event.step.level].add(event.statement)
            sums[event.step.tree, event.step.level].add(event.digest)
    for (tree, level), statements in opened.items():
        if len(statements) > 1 or len(sums[tree, level]) > 1:
            raise Broken(ONE_SUM, f"{len(statements)} sums of tree {tree}, level {level}")
    return len(opened)


def _left(events: Iterable[Event]) -> Iterator[Event]:
    """Yield the messages that have left: posted after they were made, or after they were saved."""
    made: list[Event] = []
    kept: list[Event] = []
    for event in events:
        if event.kind in ("upload", "reveal", "share"):
            made.append(event)
        elif event.kind == "saving":
            kept, made = kept + made, []
        elif event.kind == "started":
            made = []
        elif event.kind == "post":
            yield from kept + made
            kept, made = [], []


def _note(found: dict[str, _Statement], name: str, event: Event) -> None:
    if event.kind == "upload" and event.step is not None:
        one = found.setdefault(event.statement, _Statement(event.step, event.roster))
        one.vectors[name].add(event.digest)
    elif event.kind == "reveal" and event.statement in found:
        found[event.statement].seeds.add(name)
    elif event.kind == "share" and event.statement in found:
        found[event.statement].shares[event.of].add(name)


def require_locks(name: str, events: Iterable[Event]) -> None:
    """Raise Broken if a lender's saved locks go back, or a seed leaves before its lock is saved."""
    saved: tuple[Step, bool] | None = None
    due: Step | None = None
    for event in events:
        if event.kind == "started":
            due = None  # it was killed before it could send what it had made
        elif event.kind == "saved" and event.step is not None:
            now = (event.step, event.locked)
            if saved is not None and now < saved:
                raise Broken(FORWARD, f"{name} went back from {saved[0]} to {now[0]}")
            saved = now
        elif event.kind in ("reveal", "share"):
            due = event.step
        elif event.kind == "post" and due is not None:
            if saved is None or not _is_locked(due, *saved):
                raise Broken(LOCKED, f"{name} revealed {due} without a lock")
            due = None


def _is_locked(due: Step, step: Step, locked: bool) -> bool:
    """Return True if a saved state lets its lender send nothing for another attempt of `due`."""
    later = (step.tree, step.level) > (due.tree, due.level)
    return later or (step == due and locked)
