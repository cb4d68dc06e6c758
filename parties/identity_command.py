"""`python -m parties identity`: make an institution's identity key, or print the existing one.

    python -m parties identity --party bank

The last line printed is the one for the other parties' trust files (parties/trust_file.py).
"""

from __future__ import annotations

from utils.command_line import CommandParser

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parties.command import party_name
from parties.identity_file import IDENTITY_KEY, make_identity
from parties.trust_file import line_of
from settings import Settings

WORD = "identity"


@dataclass(frozen=True)
class Wanted:
    """The parsed command line; a `home` of None means the settings' folder."""

    party: str
    home: Path | None


def parse(words: Sequence[str]) -> Wanted:
    """Parse the words after `identity`; invalid ones print the usage and exit with code 2."""
    parser = CommandParser(
        prog=f"python -m parties {WORD}",
        description="Make an institution's identity key, or print the existing one.",
    )
    parser.add_argument(
        "--party", required=True, type=party_name, metavar="NAME", help="which party this is"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="the party's own folder")
    found = parser.parse_args(words)
    return Wanted(found.party, found.home)


def run(wanted: Wanted, settings: Settings) -> None:
    """Make the key if there is none, and print its public half and the line for trust files.

    Raises FolderNotOurs, IdentityKeyInvalid and OSError.
    """
    home = wanted.home or settings.party_data / wanted.party
    public = make_identity(home).public
    print(f"Public identity key of {wanted.party}: {public.hex()}")
    print(f"The private key is in {home / IDENTITY_KEY}; keep it secret, and make a backup.")
    print("Line for the other parties' trust files:")
    print(line_of(wanted.party, public))
