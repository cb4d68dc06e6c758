"""`python -m parties decision-file`: fetch and check the decision file of an application.

    python -m parties decision-file --party bank
    python verify.py decision-1f0c8e5a-decide.json --trust decision-1f0c8e5a-decide.trust.json

The trust file has the keys that this party knows from the other parties and its witnesses. Who did
not take part has to get these keys from those whom they belong to.
"""

from __future__ import annotations

from utils.command_line import CommandParser

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.interface import DECIDE, PROGRAMS
from parties.client import ServerClient
from parties.command import party_name
from parties.joint.decision_files import fetch_checked
from parties.joint.files import PROTOCOL, MemberFiles
from parties.joint.messages import HELLO, Hello
from parties.joint.state import ProtocolState
from parties.store import PartyStore
from settings import Settings
from utils.addresses import base_url_of
from utils.atomic_files import write_atomic
from utils.errors import AddressInvalid, OutOfStep, UnknownApplication

WORD = "decision-file"


@dataclass(frozen=True)
class Wanted:
    """The parsed command line; None stands for the setting's value or the newest application."""

    party: str
    server: str | None
    home: Path | None
    application: str | None
    program: str
    out: Path


def parse(words: Sequence[str]) -> Wanted:
    """Parse the words after `decision-file`; invalid ones print the usage and exit with code 2."""
    parser = CommandParser(
        prog=f"python -m parties {WORD}",
        description="Fetch the decision file of a party's application, and check it.",
    )
    parser.add_argument(
        "--party", required=True, type=party_name, metavar="NAME", help="which party this is"
    )
    parser.add_argument(
        "--server", type=_url, metavar="URL", help="the server; from the settings if left out"
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="the party's own folder")
    parser.add_argument(
        "--application", metavar="ID", help="the application; the newest one if left out"
    )
    parser.add_argument("--program", choices=PROGRAMS, default=DECIDE, help=" or ".join(PROGRAMS))
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where the files are written"
    )
    return Wanted(**vars(parser.parse_args(words)))


def run(wanted: Wanted, settings: Settings) -> None:
    """Fetch, verify and write the decision file and its trust file, and print their names.

    Raises UnknownApplication, NotAuthorised, the errors of fetch_checked, and OSError.
    """
    store = PartyStore(wanted.home or settings.party_data / wanted.party)
    client_id = wanted.application or next(iter(store.applications(wanted.party)), None)
    if client_id is None:
        raise UnknownApplication(f"{store.root} has no application of {wanted.party}.")
    files = MemberFiles(store, client_id, wanted.party)
    token, kept = files.token(), files.read(PROTOCOL)
    if kept is None:
        raise OutOfStep(f"{wanted.party} has not heard from the other parties yet.")
    hellos = ProtocolState.from_bytes(kept).said(Hello, HELLO)
    with ServerClient.from_settings(settings, wanted.server) as client:
        found = fetch_checked(client, client_id, token, wanted.program, hellos)
    path = wanted.out / f"decision-{client_id[:8]}-{wanted.program}.json"
    trust = path.with_suffix(".trust.json")
    write_atomic(path, found.file.to_bytes())
    write_atomic(trust, found.trust.to_bytes())
    print("Checked: consent, permits, program, witness, log entry, cosignature and inclusion.")
    print(f"python verify.py {path} --trust {trust}")


def _url(text: str) -> str:
    try:
        return base_url_of(text)
    except AddressInvalid as error:
        raise argparse.ArgumentTypeError(error.message) from error
