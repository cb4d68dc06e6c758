"""`python -m trials.load`: many concurrent applications with real encryption and checked results.

There are two loads, one after the other. `whole` makes complete applications with the parties' own
code on the deployed model. `saturated` prepares keys and ciphertexts in advance, makes only the
calls that an evaluation needs, and uses a model large enough to keep all cores busy; a separate
probe then measures the latency of all other calls. Exits with code 1 if a result was wrong or an
application was lost.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from settings import ROOT, get_settings
from training.measure.machine import machine
from trials.cluster import add_cluster_option, cluster
from trials.command import end_when_told
from trials.load import report
from trials.load.phase import Load, run
from trials.load.work import ENGINES
from trials.servers import REAL_SERVER, Setup, add_server_options, setup_of
from utils.atomic_files import write_atomic
from utils.errors import TrisealError
from utils.scratch_folder import scratch_folder
from utils.terminal import print_any_text

BUILD = ROOT / "build"
HEAVY_TREES, HEAVY_DEPTH = 300, 4
_EVALUATION_SECONDS = 120


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    print_any_text()
    options = _parser().parse_args(arguments)
    phases: list[dict[str, Any]] = []
    try:
        with cluster(options) as actors, scratch_folder("triseal-load-") as folder:
            for load, setup in _loads(options):
                place = folder / load.name
                phases.append(run(load, setup, options.servers, place, actors))
                print(report.text(phases[-1:], machine()), flush=True)
    except TrisealError as error:
        print(f"trials.load: {error.message}", file=sys.stderr)
        return 1
    facts = {name: str(value) for name, value in vars(options).items() if name in _SHOWN}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = report.as_json(phases, machine(), facts)
    write_atomic(options.json, (json.dumps(document, indent=2) + "\n").encode(), mode=0o644)
    made = [phase["applications"] for phase in phases]
    return 1 if any(own["wrong"] or own["lost"] for own in made) else 0


_SHOWN = (
    *("engine", "applications", "at_once", "generators", "explain", "prepared", "saturated"),
    *("seed", "nice", "minutes", "servers", "workers", "executor", "no_probe"),
)
"""Options that are saved; addresses are not, because they may contain passwords."""


def _loads(options: argparse.Namespace) -> Iterator[tuple[Load, Setup]]:
    common = {
        "engine": options.engine,
        "at_once": options.at_once,
        "generators": min(options.generators, options.at_once),
        "share": options.explain,
        "seed": options.seed,
        "minutes": options.minutes,
        "warm_up": options.warm_up,
        "probed": not options.no_probe,
        "niceness": options.nice,
    }
    if options.applications:
        load = Load(
            name="whole",
            deployment=options.deployment,
            applications=options.applications,
            prepared=options.prepared,
            **common,
        )
        yield load, _setup(options, load)
    if options.saturated and options.engine == "levelled":
        from trials.load.heavier import heavier  # imported late, because it imports all of training

        folder = BUILD / f"load_{HEAVY_TREES}x{HEAVY_DEPTH}"
        if not folder.exists():
            print("Making the large model once; this takes about two minutes", flush=True)
        load = Load(
            name="saturated",
            deployment=heavier(options.deployment, HEAVY_TREES, HEAVY_DEPTH, folder),
            applications=options.saturated,
            prepared=options.prepared or 2 * options.at_once,
            **{**common, "share": 1.0},  # all are explained: two evaluations each
        )
        cores = len(os.sched_getaffinity(0))
        yield load, _setup(options, load, workers=options.workers or cores)


def _setup(options: argparse.Namespace, load: Load, **settings: Any) -> Setup:
    return setup_of(
        options,
        REAL_SERVER,
        engine=load.engine,
        deployment=load.deployment.resolve(),
        evaluation_timeout=_EVALUATION_SECONDS,
        **settings,
    )


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="trials.load", description=__doc__)
    parser.add_argument("--applications", type=int, default=200, help="complete ones; 0 for none")
    parser.add_argument("--saturated", type=int, default=200, help="with a large model; 0 for none")
    parser.add_argument("--at-once", type=int, default=8, help="concurrent applications")
    parser.add_argument(
        "--generators", type=int, default=2, help="number of load generating processes"
    )
    parser.add_argument(
        "--nice",
        type=int,
        default=19,
        help="the generators' niceness: at 19 the servers have priority, as if they had their own "
        "machines; at 0 both have the same",
    )
    parser.add_argument(
        "--no-probe",
        action="store_true",
        help="time no calls by a separate probe, so that the servers' processor time is that of "
        "the applications alone",
    )
    parser.add_argument(
        "--explain", type=float, default=0.25, help="share of applications to explain"
    )
    parser.add_argument(
        "--prepared", type=int, default=0, help="encrypt this many in advance and send only those"
    )
    parser.add_argument("--engine", choices=ENGINES, default="levelled", help="the servers' engine")
    parser.add_argument(
        "--deployment",
        type=Path,
        default=get_settings().deployment,
        help="folder of the compiled model",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the records")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="time limit for starting applications"
    )
    parser.add_argument(
        "--warm-up", type=int, default=10, help="applications made first and not counted"
    )
    parser.add_argument(
        "--json", type=Path, default=BUILD / "load.json", help="file for the results"
    )
    add_server_options(parser)
    add_cluster_option(parser)
    return parser


if __name__ == "__main__":
    end_when_told()
    run_command(main)
