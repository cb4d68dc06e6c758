"""`python -m trials.federated`: trainings whose processes are killed, stopped and started again.

Each schedule is a small training with faults drawn from its seed, one after another or two at once.
All invariants are checked after it. Exits with code 1 and prints the seed if one is broken.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from settings import ROOT
from trials.command import end_when_told
from trials.federated.registry import KINDS
from trials.federated.report import figures_of, text
from trials.federated.schedule import Outcome, play
from trials.servers import Server, Setup
from utils.atomic_files import write_atomic
from utils.errors import TrisealError
from utils.scratch_folder import scratch_folder
from utils.terminal import print_any_text

importlib.import_module("trials.federated.faults")  # registers them
MEMORY = Path("/dev/shm")  # noqa: S108 - scratch_folder makes a private folder in it
ROOM = {
    "engine": "levelled",
    "deployment": ROOT / "deployment_files",
    "workers": 1,
    "token_calls": 1_000_000,
    "maximum_trainings": 100_000,
    "disk_reserve_megabytes": 1,
}
"""Settings of the servers: hundreds of trainings come from one address."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    options = _parser().parse_args(arguments)
    if unknown := set(options.only) - set(KINDS):
        print(f"Unknown fault: {', '.join(unknown)}. Available: {', '.join(KINDS)}.")
        return 2
    try:
        with scratch_folder("triseal-trainings-", MEMORY if MEMORY.is_dir() else None) as folder:
            figures = run(options, folder)
    except TrisealError as error:
        print(f"trials.federated: {error.message}", file=sys.stderr)
        return 1
    print(text(figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(options.json, (json.dumps(figures, indent=2) + "\n").encode(), mode=0o644)
    return 1 if figures["broken"] else 0


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Play the schedules and return the figures. Raises ServerUnreachable."""
    start = time.monotonic()
    servers = [Server(f"server-{i}", folder, Setup(ROOM)) for i in range(options.at_once)]
    free: SimpleQueue[Server] = SimpleQueue()
    seeds = range(options.seed, options.seed + options.schedules)

    def played(seed: int) -> Outcome | None:
        if time.monotonic() - start > options.minutes * 60:
            return None
        server = free.get()
        try:
            return _told(play(seed, folder / f"schedule-{seed}", server, options.only))
        finally:
            free.put(server)

    try:
        for server in servers:
            server.start()
        for server in servers:
            free.put(server.wait())
        with ThreadPoolExecutor(options.at_once) as pool:
            outcomes = [one for one in pool.map(played, seeds) if one is not None]
    finally:
        for server in servers:
            server.try_stop()
    return figures_of(options.seed, outcomes, time.monotonic() - start)


def _told(outcome: Outcome) -> Outcome:
    if outcome.broken:
        print(f"schedule {outcome.seed}: {outcome.broken}", flush=True)
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="trials.federated", description=__doc__)
    parser.add_argument("--schedules", type=int, default=300, help="number of schedules")
    parser.add_argument("--seed", type=int, default=1, help="number of the first schedule")
    parser.add_argument("--at-once", type=int, default=2, help="schedules with a server each")
    parser.add_argument("--minutes", type=float, default=60.0, help="time limit")
    parser.add_argument(
        "--only", action="append", default=[], metavar="FAULT", help="draw only this kind"
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=ROOT / "build" / "federated_faults.json",
        help="file for the results",
    )
    return parser


if __name__ == "__main__":
    end_when_told()
    run_command(main)
