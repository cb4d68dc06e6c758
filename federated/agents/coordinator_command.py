"""`python -m federated coordinator`: host a training, or go on with the one in the folder.

The codes for the lenders are written to files in the folder `codes`, one for each lender. Give each
lender its own over a channel that both trust: whoever has a code can take that lender's place,
unless its identity key is pinned with `--trust`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from features.schema import Schema
from federated.agents.at_work import AtWork
from federated.agents.code_files import CODES, write_codes
from federated.agents.coordinator_agent import CoordinatorAgent, Patience
from federated.agents.member_agent import BOOSTER, RECORD
from federated.agents.options import (
    agent_parser,
    connected,
    duration,
    identity_of,
    pins_of,
    require_free_port,
)
from federated.agents.reporting import Reporter, print_end, write_summary
from federated.plan import Plan
from federated.privacy.accounting import multiplier_for, planned
from federated.privacy.noise import advised_least_hessian
from federated.privacy.parameters import Privacy
from parties.agent_options import OpenAgentPages
from settings import Settings
from utils.errors import InvalidRequest


def main(words: Sequence[str], open_pages: OpenAgentPages | None = None) -> int:
    """Run the coordinator until the training has ended; returns the exit code.

    With a page, made by `open_pages`, it runs until the page is stopped.
    """
    options = _parse(words)
    settings = Settings()
    require_free_port(options.page_port, settings)
    home: Path = options.home or settings.party_data / "coordinator"
    key, pins = identity_of(home), pins_of(options.trust)
    patience = Patience(options.start_seconds, options.step_seconds)
    with connected(options.server, settings) as client:
        agent = CoordinatorAgent.resume(home, client, key, pins, patience)
        if agent is None:
            names = _names(options.lenders)
            plan = _plan(options)
            agent = CoordinatorAgent.host(
                home, client, key, plan, names, pins, patience, options.hours
            )
        with closing(agent):
            write_codes(home, agent.codes)
            print(f"Plan {agent.plan.digest()[:16]}; identity key {key.public.hex()}.")
            print(f"The lenders' codes are in {home / CODES}.", flush=True)
            files = {"booster": home / BOOSTER, "record": home / RECORD}
            work = AtWork("coordinator", agent, agent.cancel, files, home / CODES)
            view = work.run(Reporter(agent.events), settings, options.page_port, open_pages)
            write_summary(options.summary, view, agent.events())
    return print_end(view, home / BOOSTER, home / RECORD)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = agent_parser("coordinator", "Coordinate a training; sees sums of all lenders only.")
    parser.add_argument("--lenders", metavar="NAMES", help="the lenders' names, with commas")
    parser.add_argument("--trees", type=int, default=60, help="number of trees")
    parser.add_argument("--depth", type=int, default=3, help="levels of a tree, up to 4")
    parser.add_argument("--learning-rate", type=float, default=0.3, help="as in XGBoost")
    parser.add_argument(
        "--lambda", dest="reg_lambda", type=float, default=1.0, help="as in XGBoost"
    )
    parser.add_argument("--gamma", type=float, default=0.0, help="as in XGBoost")
    parser.add_argument(
        "--min-child-weight",
        type=float,
        help="as in XGBoost; 1, or with --epsilon what suits the noise",
    )
    parser.add_argument(
        "--epsilon", type=float, help="add noise for differential privacy of this epsilon"
    )
    parser.add_argument(
        "--delta", type=float, default=1e-6, help="the delta of --epsilon, below 1 / all rows"
    )
    parser.add_argument(
        "--least-rows", type=int, default=10, help="fewest rows of all lenders in a group"
    )
    parser.add_argument(
        "--early-stopping", type=int, metavar="TREES", help="stop without a higher AUC for TREES"
    )
    parser.add_argument(
        "--validation-share", type=float, default=0.2, help="share of rows that measure the AUC"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the validation rows")
    parser.add_argument("--hours", type=duration, default=24.0, help="lifetime of the training")
    parser.add_argument(
        "--start-seconds", type=duration, default=600.0, help="time to join before the start"
    )
    parser.add_argument(
        "--step-seconds",
        type=duration,
        default=30.0,
        help="time for one message; later the lender is away",
    )
    return parser.parse_args(words)


def _names(text: str | None) -> list[str]:
    if not text:
        raise InvalidRequest(
            "There is no training in this folder yet: name the lenders of a new one by --lenders."
        )
    return [name.strip() for name in text.split(",") if name.strip()]


def _plan(options: argparse.Namespace) -> Plan:
    schema = Schema.load(options.schema)
    names = (
        *("trees", "depth", "learning_rate", "reg_lambda", "gamma"),
        *("least_rows", "early_stopping", "validation_share", "seed"),
    )
    facts = {name: getattr(options, name) for name in names}
    privacy = None if options.epsilon is None else _privacy(options)
    least = options.min_child_weight
    if least is None:
        columns = len(list(schema.columns()))
        least = 1.0 if privacy is None else advised_least_hessian(privacy, columns)
    return Plan.parse(
        {
            "schema": schema.model_dump(mode="json"),
            "min_child_weight": least,
            "privacy": None if privacy is None else privacy.model_dump(),
            **facts,
        }
    )


def _privacy(options: argparse.Namespace) -> Privacy:
    """Return the noise for the epsilon asked for; raises PrivacyInvalid and AccountantMissing."""
    releases = planned(options.trees, options.depth)
    multiplier = multiplier_for(options.epsilon, options.delta, releases)
    return Privacy(noise_multiplier=multiplier, delta=options.delta)
