"""`python -m governance.policy`: check a folder of policies, or explain the verdict on a use.

`check` exits with 0 if the policies are valid, and with 2 otherwise. `explain` exits with 0 if the
use is allowed, with 1 if it is denied, and with 2 if it cannot be judged.
"""

from __future__ import annotations

from utils.command_line import CommandParser

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from governance.access import MOST_BYTES, read_access
from governance.policy import Policies
from governance.policy_texts import SHIPPED
from utils.errors import TrisealError
from utils.one_line import in_one_line


def main(words: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    arguments = _parser().parse_args(words)
    try:
        policies = Policies.load(arguments.policies)
        if arguments.command == "check":
            return _check(policies)
        return _explain(policies, arguments.request)
    except (TrisealError, OSError) as error:
        print(in_one_line(error), file=sys.stderr)
        return 2


def _check(policies: Policies) -> int:
    permitting = sum(rule.permits for rule in policies.rules.values())
    print(
        f"Valid: {permitting} rules that permit, {len(policies.rules) - permitting} that forbid, "
        f"{len(policies.files.maps)} schemas."
    )
    print(f"Version {policies.version}")
    return 0


def _explain(policies: Policies, request: Path) -> int:
    with request.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    verdict = policies.decide(read_access(data))
    print(verdict.in_words())
    if verdict.obligations is not None:
        print(f"Obligations: {verdict.obligations.model_dump_json()}")
    print(f"Policy version {policies.version}")
    return 0 if verdict.allowed else 1


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m governance.policy",
        description="Check a folder of policies, or explain the verdict on a use of data.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="validate the files")
    check.add_argument(
        "policies",
        type=Path,
        nargs="?",
        default=SHIPPED,
        metavar="FOLDER",
        help="folder of policies",
    )
    explain = commands.add_parser("explain", help="say why a use is allowed or denied")
    explain.add_argument("request", type=Path, metavar="REQUEST.json", help="the request, as JSON")
    explain.add_argument(
        "--policies", type=Path, default=SHIPPED, metavar="FOLDER", help="folder of policies"
    )
    return parser
