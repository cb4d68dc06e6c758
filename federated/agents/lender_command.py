"""`python -m federated lender`: take part in a training with the rows of a CSV file.

The file has the schema's columns and its target. The rows stay in this process.
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
from federated.agents.lender_agent import BOOSTER, LenderAgent, Own
from federated.agents.limits import LEAST_ROWS, LenderLimits
from federated.agents.options import agent_parser, connected, identity_of, pins_of
from federated.agents.reporting import Reporter
from settings import Settings
from utils.errors import InvalidRequest
from utils.regular_files import read_regular

_MOST_CODE = 4096


def main(words: Sequence[str]) -> int:
    """Run the lender until the training has ended; returns the exit code."""
    options = _parse(words)
    settings = Settings()
    home: Path = options.home or settings.party_data / options.name
    layout = Layout(Schema.load(options.schema))
    records = read_records(options.data, layout, options.target)
    own = Own(
        layout,
        records,
        identity_of(home),
        pins_of(options.trust),
        LenderLimits(options.least_rows, noise=options.require_noise),
    )
    print(f"{options.name}: {len(records)} rows; identity key {own.key.public.hex()}.", flush=True)
    with connected(options.server, settings) as client:
        agent = LenderAgent.resume(home, client, own)
        if agent is None:
            agent = LenderAgent.join(home, client, options.name, _code(options.code_file), own)
        with closing(agent):
            view = agent.run(Reporter())
    if view.state == "finished":
        print(f"The model is {home / BOOSTER}.")
        return 0
    print(f"The training is {view.state}. {view.reason}")
    return 1


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = agent_parser("lender", "Take part in a training with this lender's own rows.")
    parser.add_argument("--name", required=True, help="this lender's name in the training")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE", help="rows (CSV)")
    parser.add_argument("--target", help="label column; the schema's if left out")
    parser.add_argument(
        "--code-file", type=Path, metavar="FILE", help="file with the code from the coordinator"
    )
    parser.add_argument(
        "--least-rows", type=int, default=LEAST_ROWS, help="fewest rows of a group in a plan"
    )
    parser.add_argument(
        "--require-noise", action="store_true", help="refuse plans without differential privacy"
    )
    return parser.parse_args(words)


def _code(path: Path | None) -> str:
    """Return the code in a file, or asked for on the terminal; raises InvalidRequest."""
    if path is None:
        if not sys.stdin.isatty():
            raise InvalidRequest("Name the file with the coordinator's code by --code-file.")
        return getpass.getpass("Code from the coordinator: ")
    return read_code(path)


def read_code(path: Path) -> str:
    """Return the code in a file; raises InvalidRequest."""
    try:
        found = read_regular(path, _MOST_CODE)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}.") from error
    if found is None:
        raise InvalidRequest(f"{path} is not a file; it has the coordinator's code.")
    return found[0].decode("ascii", "replace").strip()
