"""`python -m trials.growth`: summarise measured loads for the documentation.

Reads the files written by `trials.load`, saves the figures that docs/OPERATIONS.md shows to
docs/load.json, and writes the table between the document's marks.
"""

from __future__ import annotations

from utils.command_line import CommandParser, run_command

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engines.interface import DECIDE
from settings import ROOT
from training.measure.text_tables import Table, figure, markdown
from utils.terminal import print_any_text

BEGIN, END = "<!-- measured load: begin -->", "<!-- measured load: end -->"
HOUR = 3600.0


def summary(title: str, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the figures per application of each phase of a load."""
    return [_figures(title, phase) for phase in document["phases"]]


def _figures(title: str, phase: Mapping[str, Any]) -> dict[str, Any]:
    right = phase["applications"]["right"]
    calls = phase["outside"]["calls"]
    made = phase["evaluations"]["count"][DECIDE]  # the probe makes complete applications too
    spent = phase["cores"]["cpu_seconds"].values()
    server = sum(own["server"] for own in spent) / made
    workers = sum(own["workers"] for own in spent) / made
    return {
        "load": f"{title}, {phase['name']}",
        "applications": right,
        "wrong": phase["applications"]["wrong"],
        "lost": phase["applications"]["lost"],
        "a_minute": phase["applications"]["a_minute"],
        "calls": phase["calls_each"],
        "server_seconds": server,
        "worker_seconds": workers,
        "per_core_and_hour": HOUR / (server + workers),
        "growth": max(memory["growth"] for memory in phase["memory"].values()),
        **{f"{kind} p95": own["milliseconds"]["p95"] for kind, own in calls.items()},
    }


_ROWS = (
    ("applications with correct results", "applications"),
    ("wrong", "wrong"),
    ("lost", "lost"),
    ("applications per minute, as measured", "a_minute"),
    ("calls of all parties, per application", "calls"),
    ("processor time of the servers, s per application", "server_seconds"),
    ("processor time of workers and checks, s per application", "worker_seconds"),
    ("applications per core and hour, computed", "per_core_and_hour"),
    ("growth of a server's memory, MB", "growth"),
    *(
        (f"{kind}: p95, ms", f"{kind} p95")
        for kind in (
            *("health", "state", "messages, get", "messages, post", "join", "get_output"),
            *("open", "erase", "send_file, 0.02 MB", "send_file, 0.6 MB", "send_file, 1 MB"),
            "send_file, 8 MB",
        )
    ),
)


def section(document: Mapping[str, Any]) -> str:
    """Return the table between its marks, with the machine that it was measured on."""
    loads = document["loads"]
    table = Table(
        ("", *(load["load"] for load in loads)),
        [
            (label, *(figure(load[name]) if name in load else "-" for load in loads))
            for label, name in _ROWS
        ],
    )
    machine = ", ".join(f"{name} {value}" for name, value in document["machine"].items())
    return "\n".join([BEGIN, markdown(table), "", f"Measured on: {machine}.", END])


def main(arguments: Sequence[str] | None = None) -> int:
    """Write docs/load.json and the table; returns 1 if a load had wrong or lost applications."""
    print_any_text()
    parser = CommandParser(prog="trials.growth", description=__doc__)
    parser.add_argument(
        "loads", nargs="+", metavar="TITLE=FILE", help="results of trials.load, each with a title"
    )
    parser.add_argument(
        "--json", type=Path, default=ROOT / "docs" / "load.json", help="file for the figures"
    )
    parser.add_argument(
        "--document",
        type=Path,
        default=ROOT / "docs" / "OPERATIONS.md",
        help="document whose marked tables are replaced",
    )
    given = parser.parse_args(arguments)
    named = [word.partition("=") for word in given.loads]
    read = [(title, json.loads(Path(path).read_bytes())) for title, _, path in named]
    found = [figures for title, document in read for figures in summary(title, document)]
    document = {"machine": read[0][1]["machine"], "loads": found}
    given.json.write_text(json.dumps(document, indent=2) + "\n")
    text = given.document.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    given.document.write_text(before + section(document) + rest.partition(END)[2], encoding="utf-8")
    return int(any(load["wrong"] or load["lost"] for load in found))


if __name__ == "__main__":
    run_command(main)
