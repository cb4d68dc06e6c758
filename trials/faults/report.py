"""Faults and checked invariants as tables and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from training.measure.text_tables import Table, figure, plain


class Tally:
    """Counts outcomes and seconds by kind of fault."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = {}
        self.seconds: Counter[str] = Counter()

    def add(self, kind: str, outcome: str, seconds: float) -> None:
        """Record the outcome and the duration of a fault."""
        self.outcomes.setdefault(kind, Counter())[outcome] += 1
        self.seconds[kind] += seconds  # type: ignore[assignment]

    def figures(self) -> dict[str, Any]:
        """Return all counts, by kind of fault."""
        return {
            kind: {
                "times": outcomes.total(),
                "seconds_each": self.seconds[kind] / outcomes.total(),
                "outcomes": dict(outcomes),
            }
            for kind, outcomes in sorted(self.outcomes.items())
        }


def text(figures: Mapping[str, Any]) -> str:
    """Return all tables as text."""
    faults = [
        (
            kind,
            str(own["times"]),
            figure(own["seconds_each"]),
            "; ".join(f"{outcome} {count}" for outcome, count in own["outcomes"].items()),
        )
        for kind, own in figures["faults"].items()
    ]
    under_way = [(name, str(n)) for name, n in sorted(figures["applications"].items())]
    passing = [(name, str(n)) for name, n in sorted(figures["borne"].items())]
    blocks = [
        ", ".join(f"{name} {value}" for name, value in figures["machine"].items()),
        plain(Table(("fault", "times", "s each", "outcomes"), list(faults))),
        plain(Table(("concurrent applications", "number"), list(under_way))),
        plain(Table(("tolerated and retried by callers", "times"), list(passing))),
        invariants(figures),
        f"{figures['done']} faults in {figures['seconds']:.0f} s",
    ]
    blocks += [
        f"BROKEN at step {own['step']} ({own['fault']}): {own['what']}\n  again: {figures['again']}"
        for own in figures["broken"]
    ]
    return "\n\n".join(blocks)


def invariants(figures: Mapping[str, Any]) -> str:
    """Return the table of invariants: how often each was checked, and broken."""
    broken = Counter(own["invariant"] for own in figures["broken"])
    held = [
        (name, str(times), str(broken.pop(name, 0)))
        for name, times in sorted(figures["checks"].items())
    ]
    held += [(name, "-", str(times)) for name, times in sorted(broken.items())]
    return plain(Table(("invariant", "checked", "broken"), list(held)))
