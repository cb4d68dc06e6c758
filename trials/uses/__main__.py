"""`python -m trials.uses`: seeded random faults on uses of owners' data, or their load.

With `--faults` (the default), each fault gets an owner's and a bank's agent on real servers, and
all invariants are checked after it. Exits with code 1 and prints the seed and the step if one is
broken. With `--load`, it makes requests and uses beside running evaluations, and times the calls.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import importlib
import json
import sys
import time
import traceback
from pathlib import Path
from random import Random
from typing import Any

from parties.governance.owner import Owner
from settings import ROOT, get_settings
from training.measure.machine import machine
from trials.command import end_when_told
from trials.faults.application import Broken
from trials.faults.report import Tally, text
from trials.servers import STAND_IN_SERVER, Setup, add_server_options, setup_of
from trials.uses.episode import Episode
from trials.uses.invariants import check, check_at_the_end
from trials.uses.load import Load
from trials.uses.load import run as run_load
from trials.uses.load_report import text as load_text
from trials.uses.registry import KINDS, Kind, drawn
from trials.uses.world import World
from utils.atomic_files import write_atomic
from utils.errors import TrisealError
from utils.scratch_folder import scratch_folder
from utils.terminal import print_any_text

FAMILIES = ("gateway", "kills", "narrow", "opened", "permits", "races", "relayed")
for _family in FAMILIES:  # importing a module registers its faults
    importlib.import_module(f"trials.uses.{_family}")
BUILD = ROOT / "build"
ROOM = {
    "engine": "clear",
    "deployment": "deployment",
    "workers": 1,
    "token_calls": 1_000_000,
    "disk_reserve_megabytes": 1,
}
"""Settings of the servers: calls of hundreds of episodes come from one address."""
_MOST_BROKEN = 20


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    options = _parser().parse_args(arguments)
    if unknown := set(options.only) - set(KINDS):
        print(f"Unknown fault: {', '.join(unknown)}. Available: {', '.join(KINDS)}.")
        return 2
    path = options.json or BUILD / ("uses_load.json" if options.load else "uses_faults.json")
    try:
        with scratch_folder("triseal-uses-") as folder:
            if options.load:
                figures = run_load(_load(options), options, folder)
                print(load_text(figures))
                bad = bool(figures["lost"])
            else:
                setup = setup_of(options, STAND_IN_SERVER, **ROOM)
                figures = run(options, setup, folder)
                print(text(figures))
                bad = bool(figures["broken"])
    except TrisealError as error:
        print(f"trials.uses: {error.message}", file=sys.stderr)
        return 1
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, (json.dumps(figures, indent=2) + "\n").encode(), mode=0o644)
    return 1 if bad else 0


def run(
    options: argparse.Namespace,
    setup: Setup,
    folder: Path,
    owner_class: type[Owner] = Owner,
) -> dict[str, Any]:
    """Run all faults and checks and return the figures. Raises ServerUnreachable."""
    start, random, tally = time.monotonic(), Random(options.seed), Tally()  # noqa: S311 - reproducible
    world = World(options.seed, setup, options.servers, folder)
    canaries: list[bytes] = []
    order = _once_each(random, options.faults, options.only)
    try:
        for step, kind in enumerate(order, 1):
            world.step, world.now_doing = step, kind.name
            canaries += _one(world, kind, tally, owner_class)
            if len(world.broken) >= _MOST_BROKEN:
                break
            if time.monotonic() - start > options.minutes * 60:
                break
        world.now_doing = "the check at the end"
        check_at_the_end(world, canaries)
    finally:
        world.stop()
    return {
        "machine": machine(),
        "seed": options.seed,
        "servers": options.servers,
        "done": world.step,
        "entries": len(world.lines),
        "seconds": time.monotonic() - start,
        "faults": tally.figures(),
        "applications": {},
        "borne": {},
        "checks": dict(world.checks),
        "again": f"python -m trials.uses --seed {options.seed} --faults {world.step}",
        "broken": [
            {"step": step, "fault": kind, "invariant": what.partition(":")[0], "what": what}
            for step, kind, what in world.broken
        ],
    }


def _once_each(random: Random, faults: int, only: list[str]) -> list[Kind]:
    """Return the kinds of all faults: each of them once, and then drawn by weight."""
    kinds = [kind for kind in KINDS.values() if not only or kind.name in only]
    random.shuffle(kinds)
    more = max(0, faults - len(kinds))
    return [*kinds[:faults], *(drawn(random, only) for _ in range(more))]


def _one(world: World, kind: Kind, tally: Tally, owner_class: type[Owner]) -> tuple[bytes, ...]:
    """Run one fault and all checks; broken invariants are recorded. Returns the canaries."""
    start = time.monotonic()
    own = Random(f"{world.seed} {world.step}")  # noqa: S311
    user = None
    if kind.gateway:
        user = own.choice(list(world.homes))
    episode = None
    try:
        world.forget_secrets()
        episode = Episode(world, world.step, own, user, owner_class)
        outcome = kind.act(episode, own)
    except Broken as error:
        world.breaks(error)
        outcome = "BROKEN"
    except Exception as error:  # an error of the trial itself must be reported
        world.breaks(Broken("the trial itself", _told(error)))
        outcome = "BROKEN"
    if episode is None:
        tally.add(kind.name, outcome, time.monotonic() - start)
        return ()
    try:
        check(episode)
    except Exception as error:
        world.breaks(Broken("the trial itself", f"in the checks: {_told(error)}"))
    try:
        episode.end()
    except Exception as error:
        world.breaks(Broken("the trial itself", f"at the end: {_told(error)}"))
    tally.add(kind.name, outcome, time.monotonic() - start)
    return episode.canaries.values


def _told(error: Exception) -> str:
    """Return an error and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " > ".join(f"{Path(each.filename).name}:{each.lineno}" for each in frames)
    return f"{type(error).__name__}: {error} ({places})"


def _load(options: argparse.Namespace) -> Load:
    return Load(
        requests=options.requests,
        at_once=options.at_once,
        deployment=options.deployment.resolve(),
        engine=options.engine,
        evaluations=options.evaluations,
    )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="trials.uses", description=__doc__)
    parser.add_argument("--faults", type=int, default=500, help="number of faults")
    parser.add_argument("--seed", type=int, default=1, help="the same seed draws the same faults")
    parser.add_argument("--minutes", type=float, default=60.0, help="time limit")
    parser.add_argument(
        "--only", action="append", default=[], metavar="FAULT", help="draw only this kind"
    )
    parser.add_argument("--json", type=Path, help="where the figures are saved")
    group = parser.add_argument_group("load")
    group.add_argument("--load", action="store_true", help="measure the load instead")
    group.add_argument("--requests", type=int, default=200, help="number of requests")
    group.add_argument("--at-once", type=int, default=8, help="concurrent requests")
    group.add_argument(
        "--engine", choices=("levelled", "clear"), default="levelled", help="the servers' engine"
    )
    group.add_argument(
        "--deployment",
        type=Path,
        default=get_settings().deployment,
        help="folder of the compiled model",
    )
    group.add_argument(
        "--evaluations", type=int, default=2, help="applications that are evaluated all the time"
    )
    add_server_options(parser)
    return parser


if __name__ == "__main__":
    end_when_told()
    run_command(main)
