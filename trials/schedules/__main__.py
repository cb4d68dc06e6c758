"""Play schedules and print what happened; a schedule that violates an invariant prints its seed.

    python -m trials.schedules --schedules 500 --seed 1
    python -m trials.schedules --schedules 1 --seed N      plays the schedule N again

Schedules use a stand-in of the engine, unless `--engine levelled` takes the compiled one. A share
of them runs every party in a process of its own, which is killed with SIGKILL.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from engines.interface import JointPartyEngine
from engines.registry import load_joint_party_engine, load_server_engine
from settings import get_settings
from trials.command import end_when_told
from trials.joint_stand_in import JointStandIn
from trials.local_server import LocalServer
from trials.schedules.processes import play_with_processes, stand_in_server
from trials.schedules.schedule import Outcome, play
from utils.scratch_folder import scratch_folder
from utils.terminal import print_any_text

MEMORY = Path("/dev/shm")  # noqa: S108 - scratch_folder makes a private folder in it
STAND_IN = "stand_in"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the schedules; returns 1 if an invariant was violated."""
    print_any_text()
    end_when_told()
    parser = CommandParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--schedules", type=int, default=500, help="number of schedules")
    parser.add_argument("--seed", type=int, default=1, help="number of the first schedule")
    parser.add_argument(
        "--engine",
        choices=(STAND_IN, "levelled"),
        default=STAND_IN,
        help="engine of parties and server",
    )
    parser.add_argument("--processes", type=int, default=0, help="schedules with real processes")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    with scratch_folder("triseal-schedules-", MEMORY if MEMORY.is_dir() else None) as folder:
        outcomes = _played(options, folder)
    return _report(outcomes, time.monotonic() - start)


def _played(options: argparse.Namespace, folder: Path) -> list[Outcome]:
    outcomes = []
    seeds = range(options.seed, options.seed + options.schedules)
    if options.processes:
        with stand_in_server(folder / "served") as url:
            for seed in seeds[: options.processes]:
                outcomes.append(_told(play_with_processes(seed, url, folder / f"{seed}")))
    servers: dict[bool, tuple[LocalServer, JointPartyEngine]] = {}
    for seed in seeds[options.processes :]:
        signs = options.engine != STAND_IN or seed % 4 != 0
        if signs not in servers:
            servers[signs] = _server(options.engine, folder / f"server-{signs}", signs)
        outcomes.append(_told(play(seed, *servers[signs], folder / f"{seed}")))
    for server, _ in servers.values():
        server.stop()
    return outcomes


def _server(engine: str, folder: Path, signs: bool) -> tuple[LocalServer, JointPartyEngine]:
    if engine == STAND_IN:
        server = LocalServer(folder, signs)
        return server, JointStandIn(server.public)
    own = load_server_engine(engine, get_settings().deployment)
    party = load_joint_party_engine(own.public, own.client_files())
    return LocalServer(folder, engine=own, party_engine=party), party


def _told(outcome: Outcome) -> Outcome:
    if outcome.violated is not None:
        print(f"schedule {outcome.seed}: {outcome.violated}", flush=True)
    return outcome


def _report(outcomes: Sequence[Outcome], seconds: float) -> int:
    violated = [outcome.seed for outcome in outcomes if outcome.violated is not None]
    faults, refusals, opened = Counter[str](), Counter[str](), Counter[str]()
    for outcome in outcomes:
        faults += outcome.faults
        refusals += outcome.refusals
        opened.update(outcome.opened)
    print(f"{len(outcomes)} schedules in {seconds:.0f} s, {len(violated)} violated an invariant")
    shares = sum(outcome.shares for outcome in outcomes)
    print(f"{shares} decryption shares; opened in {dict(opened)} of the schedules")
    for title, counts in (("faults", faults), ("refusals", refusals)):
        print(
            f"{title}:", *(f"  {count:6} {name}" for name, count in counts.most_common()), sep="\n"
        )
    if violated:
        print(f"play one again with --schedules 1 --seed {violated[0]}")
    return bool(violated)


if __name__ == "__main__":
    run_command(main)
