"""One load: starting the servers, making the applications, and the figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.measure.remote import Remote
from trials.cluster import Evaluators
from trials.load.generator import Generator, Outcome, Source
from trials.load.probe import WRONG, Probe
from trials.load.sampler import Sampler, evaluations
from trials.load.timing import Call
from trials.servers import Server, Setup

SETTLE_SECONDS = 2.0
"""Wait before measuring memory, so that memory of the last applications is freed."""
_MEGABYTE = 1e6
_SHOWN_ERRORS = 20


@dataclass(frozen=True)
class Load:
    """A load: `applications`, `at_once` of them concurrently, from `generators` processes.

    A `share` of them is explained. If `prepared` is not 0, that many are encrypted in advance and
    sent repeatedly. None starts after `minutes`; the first `warm_up` are not counted.
    """

    name: str
    engine: str
    deployment: Path
    applications: int = 200
    at_once: int = 8
    generators: int = 2
    share: float = 0.25
    prepared: int = 0
    seed: int = 1
    minutes: float = 30.0
    warm_up: int = 10
    probed: bool = True
    """True if a probe makes calls meanwhile, to time them."""
    niceness: int = 0
    """Niceness of the generators, which in production run on other machines than the servers."""

    @property
    def source(self) -> Source:
        """The source from which the generators draw the applications."""
        count = self.prepared or self.applications + self.warm_up
        return Source(self.deployment, self.engine, count, self.share, self.seed)


def run(
    load: Load, setup: Setup, servers: int, folder: Path, actors: Evaluators = list
) -> dict[str, Any]:
    """Run the load on `servers` new servers with their data in `folder`; returns the figures.

    `actors` returns the ids of Ray's actors. Raises ServerUnreachable if a server does not start,
    and errors of preparing.
    """
    with ExitStack() as stack:
        nodes = [Server(f"{load.name}-{i + 1}", folder, setup) for i in range(servers)]
        for node in nodes:
            stack.callback(node.try_stop)
            node.start()
        for node in nodes:
            node.wait()
        urls = [node.url for node in nodes]
        generators = [
            stack.enter_context(_generator(load, urls, folder, i)) for i in range(load.generators)
        ]
        probes = [Remote("probe", Probe, urls, load.source)] if load.probed else []
        for process in (*map(stack.enter_context, probes), *generators):
            process.ready()
        end = time.time() + load.minutes * 60
        first = _all(generators, range(load.warm_up), end)[0]
        time.sleep(SETTLE_SECONDS)
        before, started = evaluations(nodes), time.perf_counter()
        with Sampler(nodes, actors) as sampler:
            for probe in probes:
                probe.call("start")
            numbers = range(load.warm_up, load.warm_up + load.applications)
            outcomes, calls = _all(generators, numbers, end)
            seconds = time.perf_counter() - started
            outside, failed = probes[0].call("stop") if probes else ([], [])
            cpu = sampler.cpu()
            time.sleep(SETTLE_SECONDS)
        done = evaluations(nodes)
        workers = int(setup.settings.get("workers", 1)) * servers
        return {
            "name": load.name,
            "engine": load.engine,
            "servers": servers,
            "workers": workers,
            "at_once": load.at_once,
            "prepared": load.prepared,
            "seed": load.seed,
            "niceness": load.niceness,
            "seconds": seconds,
            "applications": _applications(
                load, first + outcomes, outcomes, seconds, failed.count(WRONG)
            ),
            "refused": dict(Counter(c.status for c in calls if c.status in (0, 429))),
            "calls": by_kind(calls),
            "calls_each": len(calls) / max(1, len(outcomes)),
            "outside": {"calls": by_kind(outside), "failed": dict(Counter(failed))},
            "evaluations": _evaluations(before, done, seconds, workers),
            "cores": {
                "busy": float(np.mean(sampler.busy)) if sampler.busy else None,
                "cpu_seconds": cpu,
            },
            "memory": {name: _memory(sampler, name) for name in sampler.samples},
        }


def _generator(load: Load, urls: Sequence[str], folder: Path, number: int) -> Remote:
    threads = len(range(number, load.at_once, load.generators))
    prepared = list(range(load.prepared))[number :: load.generators]
    home = folder / f"parties-{number + 1}"
    name, nice = f"generator {number + 1}", load.niceness
    return Remote(name, Generator, urls, load.source, home, threads, prepared, nice)


def _all(
    generators: Sequence[Remote], numbers: range, end: float
) -> tuple[list[Outcome], list[Call]]:
    """Distribute the numbers among all generators and wait for all of them."""
    for i, generator in enumerate(generators):
        generator.begin("run", list(numbers[i :: len(generators)]), end)
    answers = [generator.answer() for generator in generators]
    return [o for own, _ in answers for o in own], [c for _, own in answers for c in own]


def _applications(
    load: Load,
    everyone: list[Outcome],
    measured: list[Outcome],
    seconds: float,
    wrong_outside: int,
) -> dict[str, Any]:
    right = [o for o in measured if o.wrong is None and o.lost is None]
    faults = [o.wrong or o.lost or "" for o in everyone if o.wrong or o.lost]
    return {
        "asked_for": load.applications,
        "begun": len(measured),
        "right": len(right),
        "wrong": sum(o.wrong is not None for o in everyone) + wrong_outside,
        "lost": sum(o.lost is not None for o in everyone),
        "errors": dict(Counter(o.lost.partition(":")[0] for o in everyone if o.lost)),
        "first_errors": faults[:_SHOWN_ERRORS],
        "a_minute": len(right) / seconds * 60,
        "seconds": _spread([o.seconds for o in right]),
    }


def by_kind(calls: Sequence[Call]) -> dict[str, dict[str, Any]]:
    """Return counts, errors and milliseconds of every kind of call."""
    kinds: dict[str, list[Call]] = {}
    for call in calls:
        kinds.setdefault(call.kind, []).append(call)
    return {
        kind: {
            "count": len(own),
            "errors": sum(not 200 <= call.status < 400 for call in own),
            "milliseconds": _spread([call.seconds * 1000 for call in own]),
        }
        for kind, own in sorted(kinds.items())
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": float(max(values))}


def _evaluations(
    before: Mapping[str, tuple[int, float]],
    after: Mapping[str, tuple[int, float]],
    seconds: float,
    workers: int,
) -> dict[str, Any]:
    none = (0, 0.0)
    counts = {p: after[p][0] - before.get(p, none)[0] for p in after}
    spent = {p: after[p][1] - before.get(p, none)[1] for p in after}
    return {
        "count": counts,
        "seconds_each": {p: spent[p] / n for p, n in counts.items() if n},
        "a_second": sum(counts.values()) / seconds,
        "workers_busy": sum(spent.values()) / seconds / workers,
    }


def _memory(sampler: Sampler, name: str) -> dict[str, float]:
    """Return megabytes of the server's own process, and of all its workers together."""
    own = [sample.server / _MEGABYTE for sample in sampler.samples[name]]
    workers = [sample.workers / _MEGABYTE for sample in sampler.samples[name]]
    return {
        "start": own[0],
        "peak": max(own),
        "end": own[-1],
        "growth": own[-1] - own[0],
        "workers_start": workers[0],
        "workers_peak": max(workers),
        "workers_end": workers[-1],
    }
