"""Command line of an institution's agent, `python -m parties institution`.

    python -m parties institution key                      the key for the operator of the server
    python -m service.operations partner add bank-1 bank KEY          prints the partner's token
    python -m parties institution --name "Bank 1" --token-file FILE --api-port 5002

The interface listens at 127.0.0.1, for the institution's own programs; docs/API.md has its calls.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from parties.agent_options import (
    OpenAgentPages,
    agent_parser,
    key_parser,
    listening,
    page_of,
    require_interface,
    serve_agent,
)
from parties.client import ServerClient
from parties.identity_file import make_identity
from settings import Settings
from utils.errors import NotAuthorised
from utils.regular_files import read_regular

WORD = "institution"
_OF_OTHERS = 0o077
_MOST_TOKEN = 4096


@dataclass(frozen=True)
class Wanted:
    """The parsed command line; None stands for the settings' value or for "not asked for"."""

    name: str
    home: Path | None
    server: str | None
    api_port: int | None
    page_port: int | None
    token_file: Path


@dataclass(frozen=True)
class WantedKey:
    """The parsed command line of `institution key`."""

    home: Path | None


def parse(words: Sequence[str]) -> Wanted | WantedKey:
    """Parse the words after `institution`; invalid ones print the usage and exit with code 2."""
    if list(words[:1]) == ["key"]:
        return WantedKey(key_parser(WORD).parse_args(words[1:]).home)
    parser = agent_parser(WORD, "The agent of an institution that asks owners for the use of data.")
    parser.add_argument(
        "--token-file",
        required=True,
        type=Path,
        metavar="FILE",
        help="file with the token that the server's operator gave",
    )
    found = parser.parse_args(words)
    require_interface(parser, found)
    return Wanted(
        name=found.name,
        home=found.home,
        server=found.server,
        api_port=found.api_port,
        page_port=found.page_port,
        token_file=found.token_file,
    )


def run(
    wanted: Wanted | WantedKey, settings: Settings, open_pages: OpenAgentPages | None = None
) -> None:
    """Run the agent until it is stopped, or print its key.

    `open_pages` is called only if a page is asked for. Raises PortInUse, NotAuthorised for an
    unusable token file, DataFolderInUse, FolderNotOurs, IdentityKeyInvalid and OSError.
    """
    home = wanted.home or settings.party_data / WORD
    if isinstance(wanted, WantedKey):
        print(f"Public key: {make_identity(home).public.hex()}")
        return
    from parties.governance.api.access import API_TOKEN, api_token
    from parties.governance.api.app import Guarded
    from parties.governance.api.apps import institution_app
    from parties.governance.api.serving import stop_on_sigterm
    from parties.governance.institution import Institution

    stop_on_sigterm()
    token = read_partner_token(wanted.token_file)
    with ExitStack() as held:
        listener = held.enter_context(listening(wanted.api_port))
        client = held.enter_context(ServerClient.from_settings(settings, wanted.server))
        institution = held.enter_context(
            closing(Institution.start(home, client, wanted.name, token))
        )
        app = None
        if listener is not None:
            app = institution_app(Guarded(institution, api_token(home), settings))
        print(f"Public key of {wanted.name}: {institution.key}.", flush=True)
        page = held.enter_context(page_of(institution, settings, wanted.page_port, open_pages))
        line = (
            f"The agent of {wanted.name} listens at http://127.0.0.1:{wanted.api_port}; its token "
            f"is in {home / API_TOKEN}."
        )
        serve_agent(app, listener, line, settings.stall_timeout, page)


def read_partner_token(path: Path) -> str:
    """Return the partner's token in a file that only this user may read; raises NotAuthorised."""
    try:
        found = read_regular(path, _MOST_TOKEN)
    except FileNotFoundError as error:
        raise NotAuthorised(
            f"There is no token file {path}; `python -m service.operations partner add` prints "
            "the token."
        ) from error
    if found is None:
        raise NotAuthorised(f"{path} is not a file. Put the partner's token there.")
    data, mode = found
    if stat.S_IMODE(mode) & _OF_OTHERS:
        raise NotAuthorised(f"Other users have access to {path}. Run `chmod 600 {path}`.")
    token = data.decode("ascii", "replace").strip()
    if not token or not token.isprintable() or " " in token:
        raise NotAuthorised(f"{path} has no token: it must have one line, the token alone.")
    return token
