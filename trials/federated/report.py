"""Schedules and their invariants as figures and as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from training.measure.machine import machine
from training.measure.text_tables import Table, figure, plain
from trials.faults.report import Tally, invariants
from trials.federated.schedule import Outcome


def figures_of(seed: int, outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """Return the counts of all schedules, from the one with the number `seed` on.

    A schedule that breaks an invariant counts as broken for each of its faults.
    """
    tally, checks, facts, broken = Tally(), Counter[str](), Counter[str](), Counter[str]()
    for one in outcomes:
        checks += one.checks
        facts += one.facts
        for kind, outcome, took in one.faults:
            tally.add(kind, outcome, took)
            broken[kind] += bool(one.broken)
    return {
        "machine": machine(),
        "seed": seed,
        "schedules": len(outcomes),
        "seconds": seconds,
        "faults": {k: {**own, "broken": broken[k]} for k, own in tally.figures().items()},
        "facts": dict(facts),
        "checks": dict(checks),
        "broken": [
            {
                "seed": one.seed,
                "faults": [kind for kind, _, _ in one.faults],
                "invariant": one.broken.partition(":")[0],
                "what": one.broken,
            }
            for one in outcomes
            if one.broken
        ],
    }


def text(figures: Mapping[str, Any]) -> str:
    """Return all tables as text."""
    faults = [
        (
            kind,
            str(own["times"]),
            str(own["broken"]),
            figure(own["seconds_each"]),
            "; ".join(f"{outcome} {count}" for outcome, count in own["outcomes"].items()),
        )
        for kind, own in figures["faults"].items()
    ]
    blocks = [
        ", ".join(f"{name} {value}" for name, value in figures["machine"].items()),
        plain(Table(("fault", "drawn", "broken", "s each", "outcomes"), list(faults))),
        plain(Table(("fact", "times"), [(n, str(v)) for n, v in figures["facts"].items()])),
        invariants(figures),
        f"{figures['schedules']} schedules in {figures['seconds']:.0f} s",
    ]
    blocks += [
        f"BROKEN in schedule {own['seed']} ({' + '.join(own['faults'])}): {own['what']}\n"
        f"  again: python -m trials.federated --schedules 1 --seed {own['seed']}"
        for own in figures["broken"]
    ]
    return "\n\n".join(blocks)
