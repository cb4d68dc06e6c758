"""A load's figures as tables, and its targets with the measured values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from training.measure.text_tables import Table, figure, plain
from trials.load.sampler import ACTORS
from trials.load.timing import UNJUDGED

MOST_MILLISECONDS = 50.0
MOST_GROWTH = 50.0
"""Megabytes."""
_TIMES = ("p50", "p95", "p99", "max")


@dataclass(frozen=True)
class Target:
    """A target, the measured value, and whether it is met."""

    target: str
    found: str
    met: bool


def targets(phases: Sequence[Mapping[str, Any]]) -> list[Target]:
    """Return the targets of all phases."""
    return [target for phase in phases for target in _targets(phase)]


def _targets(phase: Mapping[str, Any]) -> list[Target]:
    name, made = phase["name"], phase["applications"]
    slow = {f"{kind} ({where})": p95 for where, kind, p95 in _judged(phase)}
    above = [kind for kind, p95 in slow.items() if p95 >= MOST_MILLISECONDS]
    slowest = max(slow, key=lambda kind: slow[kind], default="")
    growth = max(memory["growth"] for memory in phase["memory"].values())
    return [
        Target(
            f"{name}: every result correct",
            f"{made['right']} of {made['begun']}, {made['wrong']} wrong, {made['lost']} lost",
            made["right"] == made["begun"] and not made["wrong"] and not made["lost"],
        ),
        Target(
            f"{name}: calls except run under {MOST_MILLISECONDS:g} ms at p95",
            f"{len(slow) - len(above)} of {len(slow)} kinds; {slowest}: {slow.get(slowest, 0):.0f}",
            not above,
        ),
        Target(
            f"{name}: server's memory grows by less than {MOST_GROWTH:g} MB",
            f"{growth:.1f} MB",
            growth < MOST_GROWTH,
        ),
    ]


def _judged(phase: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Return (observer, kind, p95 in milliseconds) of each kind of call with a target.

    A nice load also waits for a free core, so that its own times are not used.
    """
    seen = [("outside", phase["outside"]["calls"])]
    if not phase["niceness"]:
        seen.append(("load", phase["calls"]))
    return [
        (where, kind, own["milliseconds"]["p95"])
        for where, calls in seen
        for kind, own in calls.items()
        if kind not in UNJUDGED
    ]


def text(phases: Sequence[Mapping[str, Any]], machine: Mapping[str, str]) -> str:
    """Return all tables as text."""
    blocks = [", ".join(f"{name} {value}" for name, value in machine.items())]
    for phase in phases:
        blocks.append(_title(phase))
        blocks.append(plain(_summary(phase)))
        blocks.append(plain(_calls("calls of the load, ms", phase["calls"])))
        blocks.append(plain(_calls("seen from outside, ms", phase["outside"]["calls"])))
        blocks.append("\n".join(phase["applications"]["first_errors"]))
    rows: list[tuple[str, ...]] = [
        (t.target, "yes" if t.met else "NO", t.found) for t in targets(phases)
    ]
    blocks.append(plain(Table(("target", "reached", "found"), rows)))
    return "\n\n".join(block for block in blocks if block)


def as_json(
    phases: Sequence[Mapping[str, Any]], machine: Mapping[str, str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all figures as JSON values."""
    return {
        "machine": dict(machine),
        "options": dict(options),
        "phases": list(phases),
        "targets": [asdict(target) for target in targets(phases)],
    }


def _title(phase: Mapping[str, Any]) -> str:
    kind = f"{phase['prepared']} encrypted in advance" if phase["prepared"] else "by the parties"
    return (
        f"== {phase['name']}: {phase['applications']['asked_for']} applications, "
        f"{phase['at_once']} at once, {kind}; engine {phase['engine']}, {phase['servers']} "
        f"server(s), {phase['workers']} worker(s); the load's priority {phase['niceness']}"
    )


def _summary(phase: Mapping[str, Any]) -> Table:
    made, done, cores = phase["applications"], phase["evaluations"], phase["cores"]
    rows: list[tuple[str, Any]] = [
        ("right / wrong / lost", f"{made['right']} / {made['wrong']} / {made['lost']}"),
        ("not started in time", made["asked_for"] - made["begun"]),
        ("total seconds", phase["seconds"]),
        ("applications per minute", made["a_minute"]),
        ("calls of one", phase["calls_each"]),
        *((f"seconds of one, {p}", value) for p, value in (made["seconds"] or {}).items()),
        ("evaluations per second", done["a_second"]),
        *((f"evaluation of {p}, s", value) for p, value in done["seconds_each"].items()),
        ("workers evaluating, share", done["workers_busy"]),
        ("cores busy, share", cores["busy"]),
        ("answered 429", phase["refused"].get(429, 0)),
        ("connections lost", phase["refused"].get(0, 0)),
    ]
    if ACTORS in cores["cpu_seconds"]:
        rows.append(("Ray's actors: processor, s", cores["cpu_seconds"][ACTORS]["workers"]))
    for name, memory in phase["memory"].items():
        cpu = cores["cpu_seconds"][name]
        rows += [
            (
                f"{name}: processor, server / workers, s",
                f"{cpu['server']:.1f} / {cpu['workers']:.1f}",
            ),
            (f"{name}: memory start, MB", memory["start"]),
            (f"{name}: memory peak, MB", memory["peak"]),
            (f"{name}: memory end, MB", memory["end"]),
            (f"{name}: memory growth, MB", memory["growth"]),
            (f"{name}: workers' memory, peak, MB", memory["workers_peak"]),
        ]
    return Table(("", "value"), [(label, figure(value)) for label, value in rows])


def _calls(title: str, calls: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            kind,
            str(own["count"]),
            str(own["errors"]),
            *(figure(own["milliseconds"][time]) for time in _TIMES),
        )
        for kind, own in calls.items()
    ]
    return Table((title, "count", "errors", *_TIMES), rows)
