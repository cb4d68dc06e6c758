"""Command line options that a coordinator and a lender share, and what follows from them."""

from __future__ import annotations

from utils.command_line import CommandParser

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parties.agent_options import port, url
from parties.identity_file import make_identity
from parties.joint.identities import IdentityKey
from parties.trainings_client import TrainingsClient
from parties.trust_file import TrustFile
from settings import ROOT, Settings
from utils.ports import check_port

LONGEST = 30 * 86_400
DEFAULT_SCHEMA = ROOT / "features" / "credit_card.json"


def agent_parser(word: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that both commands have."""
    parser = CommandParser(
        prog=f"python -m federated {word}",
        description=description,
        allow_abbrev=False,
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="the agent's own folder")
    parser.add_argument("--server", type=url, metavar="URL", help="the server that relays messages")
    parser.add_argument(
        "--schema", type=Path, default=DEFAULT_SCHEMA, metavar="FILE", help="the schema (JSON)"
    )
    parser.add_argument(
        "--trust", type=Path, metavar="FILE", help="trust file with the others' identity keys"
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="write the last state and events here (JSON)"
    )
    parser.add_argument("--page-port", type=port, metavar="PORT", help="port of the agent's page")
    return parser


def duration(text: str) -> float:
    """Parse a positive number of seconds or hours; raises ArgumentTypeError."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= LONGEST:
        raise argparse.ArgumentTypeError(f"give a number above 0, and at most {LONGEST:,.0f}")
    return found


def require_free_port(page_port: int | None, settings: Settings) -> None:
    """Raise PortInUse or AddressInvalid if the page cannot listen at its port."""
    if page_port is not None:
        check_port(settings.page_host, page_port, "The page", "--page-port")


def pins_of(trust: Path | None) -> dict[str, bytes]:
    """Return the pinned keys by member; raises TrustFileInvalid."""
    return {} if trust is None else TrustFile.read(trust).pins


@contextmanager
def connected(server: str | None, settings: Settings) -> Iterator[TrainingsClient]:
    """Yield a client of the server named on the command line or in the settings."""
    with TrainingsClient.from_settings(settings, server) as client:
        yield client


def identity_of(home: Path) -> IdentityKey:
    """Return the identity key in the agent's folder, which is made if it is missing."""
    return make_identity(home)
