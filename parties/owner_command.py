"""Command line of a data owner's agent, `python -m parties owner`.

    python -m parties owner --name Ann --api-port 5001             its calls are in docs/API.md
    python -m parties owner key                                    print the public key and user id

`--name` is the user id if the server's setting TRISEAL_OWNERS names the person. The agent has two
listeners: the interface at 127.0.0.1 for the person's own programs, and the
exchange, at which partners redeem permits for records. The data store is opened by a passphrase or
a key file (parties/store_secret.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from parties.agent_options import (
    OpenAgentPages,
    agent_parser,
    host,
    key_parser,
    listening,
    page_of,
    port,
    require_interface,
    serve_agent,
)
from parties.client import ServerClient
from parties.identity_file import make_identity
from settings import Settings
from utils.addresses import url_of

WORD = "owner"
EXCHANGE_OFFSET = 100
"""The exchange's port minus that of the interface, if it is not given."""


@dataclass(frozen=True)
class Wanted:
    """The parsed command line; None stands for the settings' value or for "not asked for"."""

    name: str
    home: Path | None
    server: str | None
    api_port: int | None
    page_port: int | None
    passphrase_file: Path | None
    key_file: Path | None
    policies: Path | None
    exchange: tuple[str, int] | None


@dataclass(frozen=True)
class WantedKey:
    """The parsed command line of `owner key`."""

    home: Path | None


def parse(words: Sequence[str]) -> Wanted | WantedKey:
    """Parse the words after `owner`; invalid ones print the usage and exit with code 2."""
    if list(words[:1]) == ["key"]:
        return WantedKey(key_parser(WORD).parse_args(words[1:]).home)
    parser = agent_parser(WORD, "The agent of a person who keeps the data.")
    secret = parser.add_mutually_exclusive_group()
    secret.add_argument(
        "--passphrase-file", type=Path, metavar="FILE", help="file with the store's passphrase"
    )
    secret.add_argument("--key-file", type=Path, metavar="FILE", help="the store's key file")
    parser.add_argument(
        "--policies", type=Path, metavar="DIR", help="the person's own policy; or the shipped one"
    )
    parser.add_argument(
        "--exchange-host",
        type=host,
        default="127.0.0.1",
        metavar="HOST",
        help="address at which partners redeem permits for records",
    )
    parser.add_argument(
        "--exchange-port",
        type=port,
        metavar="PORT",
        help=f"its port; that of the interface plus {EXCHANGE_OFFSET} if left out",
    )
    found = parser.parse_args(words)
    require_interface(parser, found)
    exchange_port = found.exchange_port
    if exchange_port is None and found.api_port is not None:
        exchange_port = found.api_port + EXCHANGE_OFFSET
        if exchange_port > 65535:
            parser.error("choose an --exchange-port")
    return Wanted(
        name=found.name,
        home=found.home,
        server=found.server,
        api_port=found.api_port,
        page_port=found.page_port,
        passphrase_file=found.passphrase_file,
        key_file=found.key_file,
        policies=found.policies,
        exchange=None if exchange_port is None else (found.exchange_host, exchange_port),
    )


def run(
    wanted: Wanted | WantedKey, settings: Settings, open_pages: OpenAgentPages | None = None
) -> None:
    """Run the agent until it is stopped, or print its key.

    `open_pages` is called only if a page is asked for. Raises PortInUse, StoreLocked, StoreDamaged,
    DataFolderInUse, FolderNotOurs, IdentityKeyInvalid, PolicyInvalid and OSError.
    """
    home = wanted.home or settings.party_data / WORD
    if isinstance(wanted, WantedKey):
        public = make_identity(home).public
        print(f"Public key: {public.hex()}")
        print(f"User id: {user_id_of(public)}")
        return
    from parties.governance.api.access import API_TOKEN, api_token
    from parties.governance.api.app import Guarded
    from parties.governance.api.apps import owner_app
    from parties.governance.api.exchange import exchange_app
    from parties.governance.api.serving import bind, server_of, serving, stop_on_sigterm
    from parties.governance.owner import Owner
    from parties.store_secret import has_store, store_secret

    stop_on_sigterm()
    with ExitStack() as held:
        listener = held.enter_context(listening(wanted.api_port))
        partners = None
        if wanted.exchange is not None:
            what = "The exchange with partners"
            partners = held.enter_context(bind(*wanted.exchange, what, "--exchange-port"))
        make_identity(home)  # claims the folder, before anything else is written there
        secret = store_secret(
            home,
            exists=has_store(home),
            passphrase_file=wanted.passphrase_file,
            own_key_file=wanted.key_file,
            setting=_setting(settings),
            say=_say,
        )
        client = held.enter_context(ServerClient.from_settings(settings, wanted.server))
        owner = held.enter_context(
            closing(
                Owner.start(
                    home,
                    client,
                    wanted.name,
                    secret,
                    policies=wanted.policies,
                    exchange=wanted.exchange,
                )
            )
        )
        _say(f"Public key of {wanted.name}: {owner.key}")
        if wanted.exchange is not None and partners is not None:
            line = f"Partners redeem permits at {url_of(*wanted.exchange)}."
            exchange = server_of(exchange_app(owner, settings), settings.stall_timeout, line)
            held.enter_context(serving(exchange, partners))
        app = None
        if listener is not None:
            app = owner_app(Guarded(owner, api_token(home), settings))
        page = held.enter_context(page_of(owner, settings, wanted.page_port, open_pages))
        line = (
            f"The agent of {wanted.name} listens at http://127.0.0.1:{wanted.api_port}; its token "
            f"is in {home / API_TOKEN}."
        )
        serve_agent(app, listener, line, settings.stall_timeout, page)


def user_id_of(public: bytes) -> str:
    """Return the id of an owner that the server's settings do not name."""
    return f"owner:{hashlib.sha256(public).hexdigest()[:32]}"


def _setting(settings: Settings) -> str | None:
    value = settings.store_passphrase
    return None if value is None else value.get_secret_value()


def _say(text: str) -> None:
    print(text, flush=True)
