"""The load: requests and uses by agents, beside running evaluations, and the times of all calls."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parties.identity_file import make_identity
from training.measure.machine import machine
from training.measure.remote import Remote
from trials.load.generator import Generator, Source
from trials.load.phase import by_kind
from trials.load.sampler import evaluations
from trials.load.timing import Call
from trials.servers import REAL_SERVER, Server, setup_of
from trials.uses.load_agents import NICENESS, Agents, Done
from trials.uses.load_probe import UseProbe

USES_OF_ONE = 12
"""Requests of one pair of agents: the policy allows 20 statistics and 60 records an hour."""
PROBE = "user_0"
SHOWN_ERRORS = 10
WAYS = ("request_and_run", "authorize_and_exchange")
_PREPARED = 4
_HOURS = 24.0


@dataclass(frozen=True)
class Load:
    """`requests` made each way, `at_once` of them concurrently, beside running evaluations."""

    requests: int
    at_once: int
    deployment: Path
    engine: str
    evaluations: int
    """Applications that are made one after the other, at the same time as the requests."""


def run(load: Load, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the load on a new server with its data in `folder`; returns the figures.

    Raises ServerUnreachable if the server does not start, and errors of preparing.
    """
    pairs = max(load.at_once, math.ceil(load.requests / USES_OF_ONE))
    homes = {f"user_{i}": folder / f"user_{i}" for i in range(1, pairs + 1)}
    everyone = {PROBE: folder / PROBE, **homes}
    with ExitStack() as stack:
        server = _server(load, options, folder, everyone)
        stack.callback(server.try_stop)
        server.start()
        server.wait()
        operator = server.operator_token()
        busy = _evaluating(load, server, folder, stack)
        agents = stack.enter_context(
            Remote("agents", Agents, server.url, homes, operator, load.at_once)
        )
        probe = stack.enter_context(
            Remote("probe", UseProbe, server.url, PROBE, everyone[PROBE], operator)
        )
        agents.ready()
        probe.ready()
        if busy is not None:
            busy.begin("run", range(10**6), time.time() + _HOURS * 3600)
        for way in WAYS:  # not counted
            agents.call("run", way, list(range(load.at_once)))
        before, start = evaluations([server]), time.perf_counter()
        probe.call("start")
        done: dict[str, list[Done]] = {}
        calls: list[Call] = []
        for way in WAYS:
            found, own = agents.call("run", way, list(range(load.requests)))
            done[way] = found
            calls += own
        outside, failed = probe.call("stop")
        seconds = time.perf_counter() - start
        after = evaluations([server])
    lost = [each.lost for own in done.values() for each in own if each.lost is not None]
    return {
        "machine": machine(),
        "engine": load.engine,
        "requests": load.requests,
        "at_once": load.at_once,
        "seconds": seconds,
        "done": {way: sum(each.lost is None for each in own) for way, own in done.items()},
        "lost": len(lost),
        "first_errors": [*lost, *failed][:SHOWN_ERRORS],
        "seconds_each": {way: _spread(own) for way, own in done.items()},
        "evaluations": {p: after[p][0] - before.get(p, (0, 0.0))[0] for p in after},
        "calls": by_kind(calls),
        "outside": {"calls": by_kind(outside), "failed": dict(Counter(failed))},
    }


def _server(
    load: Load, options: argparse.Namespace, folder: Path, homes: dict[str, Path]
) -> Server:
    owners = {
        name: {"key": make_identity(home).public.hex(), "host": "127.0.0.1", "port": 5001}
        for name, home in homes.items()
    }
    setup = setup_of(
        options,
        REAL_SERVER,
        engine=load.engine,
        deployment=load.deployment,
        owners=json.dumps(owners),
        token_calls=1_000_000,
    )
    return Server("server", folder, setup)


def _evaluating(load: Load, server: Server, folder: Path, stack: ExitStack) -> Remote | None:
    """Return a process that can keep the server's workers busy, or None."""
    if not load.evaluations:
        return None
    source = Source(load.deployment, load.engine, _PREPARED, 0.25, 1)
    prepared = list(range(_PREPARED))
    home = folder / "evaluations"
    made = stack.enter_context(
        Remote(
            "evaluations",
            Generator,
            [server.url],
            source,
            home,
            load.evaluations,
            prepared,
            NICENESS,
        )
    )
    made.ready()
    return made


def _spread(done: list[Done]) -> dict[str, float]:
    own = sorted(each.seconds for each in done)
    return {"p50": own[len(own) // 2], "p95": own[int(0.95 * (len(own) - 1))], "max": own[-1]}
