"""`python -m federated lender`: take part in a training with the rows of a CSV file.

The file has the schema's columns and its target. The rows stay in this process. With `--api-port`,
the agent has an HTTP interface for the lender's own programs, which join or start trainings.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from features.encoding import Layout
from features.records import read_records
from features.schema import Schema
from federated.agents.at_work import AtWork
from federated.agents.code_files import read_code
from federated.agents.lender_agent import LenderAgent, Own
from federated.agents.limits import LEAST_ROWS, LenderLimits
from federated.agents.member_agent import BOOSTER, RECORD
from federated.agents.names import require_name
from federated.agents.options import (
    agent_parser,
    connected,
    identity_of,
    pins_of,
    require_free_port,
)
from federated.agents.reporting import Reporter, print_end, write_summary
from model.booster import MAXIMUM_TREES
from parties.agent_options import OpenAgentPages, port
from settings import Settings
from utils.errors import InvalidRequest


def main(words: Sequence[str], open_pages: OpenAgentPages | None = None) -> int:
    """Run the lender until the training has ended; returns the exit code.

    With a page, made by `open_pages`, it runs until the page is stopped.
    """
    options = _parse(words)
    require_name(options.name)  # which names the folder
    settings = Settings()
    require_free_port(options.page_port, settings)
    home: Path = options.home or settings.party_data / options.name
    limits = LenderLimits(options.least_rows, options.most_trees, options.require_noise)
    if options.api_port is not None:
        _serve(options, home, limits, settings)
        return 0
    layout = Layout(Schema.load(options.schema))
    notes: list[str] = []
    records = read_records(options.data, layout, options.target, notes)
    for note in notes:
        print(f"note: {note}")
    own = Own(
        layout,
        records,
        identity_of(home),
        pins_of(options.trust),
        limits,
    )
    print(f"{options.name}: {len(records)} rows; identity key {own.key.public.hex()}.", flush=True)
    with connected(options.server, settings) as client:
        agent = LenderAgent.resume(home, client, own)
        if agent is None:
            agent = LenderAgent.join(home, client, options.name, _code(options.code_file), own)
        with closing(agent):
            files = {"booster": home / BOOSTER, "record": home / RECORD}
            work = AtWork("lender", agent, agent.leave, files)
            view = work.run(Reporter(agent.events), settings, options.page_port, open_pages)
            write_summary(options.summary, view, agent.events())
    return print_end(view, home / BOOSTER, home / RECORD)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = agent_parser("lender", "Take part in a training with this lender's own rows.")
    parser.add_argument("--name", required=True, help="this lender's name in the training")
    parser.add_argument("--data", type=Path, metavar="FILE", help="rows (CSV)")
    parser.add_argument("--target", help="label column; the schema's if left out")
    parser.add_argument(
        "--code-file", type=Path, metavar="FILE", help="file with the code from the coordinator"
    )
    parser.add_argument(
        "--least-rows", type=int, default=LEAST_ROWS, help="refuse plans with groups of fewer rows"
    )
    parser.add_argument(
        "--most-trees", type=int, default=MAXIMUM_TREES, help="refuse plans with more trees"
    )
    parser.add_argument(
        "--require-noise", action="store_true", help="refuse plans without differential privacy"
    )
    parser.add_argument(
        "--api-port", type=port, metavar="PORT", help="port of an HTTP interface on 127.0.0.1"
    )
    parser.add_argument(
        "--data-folder", type=Path, metavar="DIR", help="folder whose files the interface may use"
    )
    found = parser.parse_args(words)
    if found.api_port is None and found.data is None:
        parser.error("name the rows by --data, or choose an --api-port")
    if found.api_port is not None and found.code_file and not found.data:
        parser.error("name the rows for the code's training by --data")
    if found.api_port is None and found.data_folder:
        parser.error("--data-folder is for --api-port")
    if found.api_port is not None and found.page_port is not None:
        parser.error("--page-port is for a lender without --api-port; leave one of them out")
    return found


def _serve(
    options: argparse.Namespace, home: Path, limits: LenderLimits, settings: Settings
) -> None:
    # Imported here, since a lender without an interface needs no HTTP server.
    from federated.agents.api.command import WantedAgent, serve

    wanted = WantedAgent(
        name=options.name,
        home=home,
        server=options.server,
        schema=options.schema,
        target=options.target,
        trust=options.trust,
        limits=limits,
        data=options.data,
        data_folder=options.data_folder,
        code=None if options.code_file is None else _code(options.code_file),
        api_port=options.api_port,
    )
    serve(wanted, settings)


def _code(path: Path | None) -> str:
    """Return the code in a file, or asked for on the terminal; raises InvalidRequest."""
    if path is None:
        if not sys.stdin.isatty():
            raise InvalidRequest("Name the file with the coordinator's code by --code-file.")
        return getpass.getpass("Code from the coordinator: ")
    return read_code(path)
