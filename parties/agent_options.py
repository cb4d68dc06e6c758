"""Command line options of the agents of data owners and institutions, and how both run.

The pages are passed in by parties/__main__.py, because this folder does not know them.
"""

from __future__ import annotations

from utils.command_line import CommandParser

import argparse
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings import Settings
from utils.addresses import base_url_of, host_of
from utils.errors import AddressInvalid, InvalidRequest

if TYPE_CHECKING:
    from parties.governance.api.app import AgentApp

ServeAgentPage = Callable[[Any, Settings, int], None]
"""Serves the page of an Owner or Institution at a port until it is stopped."""
OpenAgentPages = Callable[[], AbstractContextManager[ServeAgentPage]]
"""Loads the libraries of the pages, which takes seconds."""

LONGEST_NAME = 64


def agent_parser(word: str, what: str) -> argparse.ArgumentParser:
    """Return a parser with the options that both agents have."""
    parser = CommandParser(prog=f"python -m parties {word}", description=what, allow_abbrev=False)
    parser.add_argument("--name", required=True, type=_name, help="the name that others see")
    parser.add_argument("--home", type=Path, metavar="DIR", help="the agent's own folder")
    parser.add_argument(
        "--server", type=url, metavar="URL", help="the server; from the settings if left out"
    )
    parser.add_argument(
        "--api-port", type=port, metavar="PORT", help="port of the HTTP interface on 127.0.0.1"
    )
    parser.add_argument("--page-port", type=port, metavar="PORT", help="port of the agent's page")
    return parser


def require_interface(parser: argparse.ArgumentParser, found: argparse.Namespace) -> None:
    """End with the usage if neither an interface nor a page is asked for."""
    if found.api_port is None and found.page_port is None:
        parser.error("choose --api-port, --page-port or both")


def key_parser(word: str) -> argparse.ArgumentParser:
    """Return the parser of the command that prints an agent's public key."""
    parser = CommandParser(
        prog=f"python -m parties {word} key",
        description="Make the agent's long-lived key, or print the existing one.",
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="the agent's own folder")
    return parser


@contextmanager
def listening(api_port: int | None) -> Iterator[socket.socket | None]:
    """Hold the port of the interface, if there is one; raises PortInUse and AddressInvalid."""
    if api_port is None:
        yield None
        return
    from parties.governance.api.app import HOST
    from parties.governance.api.serving import bind

    with bind(HOST, api_port, "The agent's interface", "--api-port") as listener:
        yield listener


def serve_agent(
    app: AgentApp | None,
    listener: socket.socket | None,
    line: str,
    silence: float,
    page: Callable[[], None] | None,
) -> None:
    """Serve the interface, the page, or both, until Ctrl-C or SIGTERM; print `line` then.

    `page` returns when the page is stopped.
    """
    from parties.governance.api.serving import serve, server_of, serving

    if app is None or listener is None:
        if page is not None:
            page()
        return
    server = server_of(app, silence, line)
    if page is None:
        serve(server, listener)
        return
    with serving(server, listener):
        page()


@contextmanager
def page_of(
    agent: Any, settings: Settings, page_port: int | None, open_pages: OpenAgentPages | None
) -> Iterator[Callable[[], None] | None]:
    """Yield the function that serves the agent's page, or None if no page is asked for.

    Raises InvalidRequest if there is no page to serve.
    """
    if page_port is None:
        yield None
        return
    if open_pages is None:
        raise InvalidRequest("This agent has no page; leave out --page-port.")
    with open_pages() as serve_page:
        yield lambda: serve_page(agent, settings, page_port)


def port(text: str) -> int:
    """Return a port of the command line; raises ArgumentTypeError."""
    found = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
    if not 1 <= found <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return found


def url(text: str) -> str:
    """Return a URL of the command line; raises ArgumentTypeError."""
    try:
        return base_url_of(text)
    except AddressInvalid as error:
        raise argparse.ArgumentTypeError(error.message) from error


def host(text: str) -> str:
    """Return a host of the command line; raises ArgumentTypeError."""
    try:
        return host_of(text)
    except AddressInvalid as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _name(text: str) -> str:
    if not 1 <= len(text) <= LONGEST_NAME or not text.isprintable() or text != text.strip():
        raise argparse.ArgumentTypeError(f"a name has 1 to {LONGEST_NAME} printable characters")
    return text
