"""`python -m trials.faults`: a seeded loop of random faults with checks of invariants.

It starts real servers, runs applications from several threads, and checks all invariants after
every few faults. Exits with code 1 and prints the seed and the step if an invariant is broken.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import importlib
import json
import secrets
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from settings import ROOT, get_settings
from training.measure.machine import machine
from trials.cluster import Evaluators, add_cluster_option, cluster
from trials.command import end_when_told
from trials.faults.application import Broken, Ended
from trials.faults.calls import Lost
from trials.faults.invariants import Invariants
from trials.faults.registry import KINDS, drawn
from trials.faults.report import Tally, text
from trials.faults.traffic import Traffic
from trials.faults.world import Choice, World
from trials.servers import (
    REAL_SERVER,
    STAND_IN_SERVER,
    Setup,
    add_server_options,
    setup_of,
)
from utils.atomic_files import write_atomic
from utils.errors import TrisealError
from utils.scratch_folder import scratch_folder
from utils.terminal import print_any_text

FAMILIES = ("damage", "jobs", "kills", "quota", "races", "stalls", "tokens")
for _family in FAMILIES:  # importing a module registers its faults
    importlib.import_module(f"trials.faults.{_family}")
STAND_IN = "stand-in"
ENGINES = (STAND_IN, "clear", "levelled")
_TIGHT = {
    "maximum_queued": 8,
    "storage_megabytes": 24,
    "stall_timeout": 2.0,
    "upload_timeout": 20.0,
    "lease_seconds": 2.0,
    "evaluation_timeout": 60,
    "token_calls": 100_000,
}
"""Settings that make faults take effect soon and often."""
_ROOM_FOR_REAL = 4096
"""Storage in megabytes for real ciphertexts."""
_MOST_BROKEN = 20


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    options = _parser().parse_args(arguments)
    if unknown := set(options.only) - set(KINDS):
        print(f"Unknown fault: {', '.join(unknown)}. Available: {', '.join(KINDS)}.")
        return 2
    choice = Choice(
        options.faults, options.seed, options.at_once, options.engine, options.deployment
    )
    try:
        with cluster(options) as evaluators, scratch_folder("triseal-faults-") as folder:
            figures = run(choice, _setup(options), options, folder, evaluators)
    except TrisealError as error:
        print(f"trials.faults: {error.message}", file=sys.stderr)
        return 1
    print(text(figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.json, (json.dumps(figures, indent=2) + "\n").encode(), mode=0o644)
    return 1 if figures["broken"] else 0


def run(
    choice: Choice,
    setup: Setup,
    options: argparse.Namespace,
    folder: Path,
    evaluators: Evaluators,
) -> dict[str, Any]:
    """Run all faults and checks and return the figures. Raises ServerUnreachable."""
    start, random = time.monotonic(), Random(choice.seed)  # noqa: S311 - reproducible
    tally = Tally()
    world = World(choice, setup, options.servers, folder, evaluators)
    traffic = Traffic(world, choice.at_once, choice.seed)
    try:
        invariants = Invariants(world)
        traffic.start()
        for step in range(1, choice.faults + 1):
            world.step = step
            _one(world, random, tally, set(options.only))
            invariants.note_new()
            last = step == choice.faults or len(world.broken) >= _MOST_BROKEN
            if step % options.check_every == 0 or last:
                _quietly(world, traffic, invariants, Random(f"{choice.seed} {step}"), last)  # noqa: S311
            if last or time.monotonic() - start > options.minutes * 60:
                break
    finally:
        for server in world.servers:
            server.kill()
    return {
        "machine": machine(),
        "engine": choice.engine,
        "seed": choice.seed,
        "servers": options.servers,
        "executor": options.executor,
        "done": world.step,
        "seconds": time.monotonic() - start,
        "faults": tally.figures(),
        "applications": dict(traffic.outcomes),
        "borne": dict(world.caller.passing),
        "checks": dict(world.checks),
        "again": f"python -m trials.faults --seed {choice.seed} --faults {world.step}",
        "broken": [
            {"step": step, "fault": kind, "invariant": what.partition(":")[0], "what": what}
            for step, kind, what in world.broken
        ],
    }


def _one(world: World, random: Random, tally: Tally, only: set[str]) -> None:
    """Run one fault; broken invariants are recorded and the loop continues."""
    kind = drawn(random, world.contents.takes_orders, only)
    world.now_doing, start = kind.name, time.monotonic()
    own = Random(f"{world.choice.seed} {world.step}")  # noqa: S311
    try:
        outcome = kind.act(world, own)
    except Ended as ended:
        outcome = f"ended: {ended}"
    except Broken as error:
        world.breaks(error)
        outcome = "BROKEN"
    except Lost as error:
        world.breaks(Broken("no lost application", str(error)))
        outcome = "LOST"
    except Exception as error:  # an error of the trial itself must be reported
        world.breaks(Broken("the trial itself", f"{type(error).__name__}: {error}"))
        outcome = "BROKEN"
    tally.add(kind.name, outcome, time.monotonic() - start)
    if not all(server.alive for server in world.servers):
        world.breaks(Broken("no leak of processes", "a server ended by itself"))
        for server in world.servers:
            if not server.alive:
                server.start()
                server.wait()


def _quietly(
    world: World, traffic: Traffic, invariants: Invariants, random: Random, last: bool
) -> None:
    """Wait until no application is running, and check all invariants."""
    world.now_doing = "the check of all invariants"
    try:
        if last:
            traffic.stop()
            invariants.finish(random)
        else:
            traffic.pause()
            invariants.check(random)
            traffic.resume()
    except Lost as error:
        world.breaks(Broken("no lost application", str(error)))
        traffic.resume()


def settings_for(engine: str, deployment: Path | None = None, workers: int = 2) -> Setup:
    """Return the default set-up of the servers for this engine."""
    if engine == STAND_IN:
        own: dict[str, Any] = {"engine": "clear", "deployment": "deployment"}
        command = STAND_IN_SERVER
    else:
        own = {"engine": engine, "deployment": (deployment or Path()).resolve()}
        own["storage_megabytes"] = _ROOM_FOR_REAL
        command = REAL_SERVER
    return Setup({**_TIGHT, "workers": workers, **own}, command)


def _setup(options: argparse.Namespace) -> Setup:
    own = settings_for(options.engine, options.deployment, options.workers or 2)
    shared = {} if options.servers == 1 else {"operator_token": secrets.token_urlsafe(32)}
    return setup_of(options, own.command, **own.settings, **shared)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="trials.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=1000, help="number of faults")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same faults")
    parser.add_argument("--at-once", type=int, default=4, help="concurrent applications")
    parser.add_argument(
        "--check-every", type=int, default=50, help="number of faults between checks"
    )
    parser.add_argument("--only", nargs="+", default=[], help="names of faults to use")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="time limit for starting faults"
    )
    parser.add_argument("--engine", choices=ENGINES, default=STAND_IN, help="the servers' engine")
    parser.add_argument(
        "--deployment",
        type=Path,
        default=get_settings().deployment,
        help="folder of the compiled model",
    )
    parser.add_argument(
        "--json", type=Path, default=ROOT / "build" / "faults.json", help="file for the results"
    )
    add_server_options(parser)
    add_cluster_option(parser)
    return parser


if __name__ == "__main__":
    end_when_told()
    run_command(main)
