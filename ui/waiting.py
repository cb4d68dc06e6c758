"""Ports and readiness: is an address free, does the server answer yet. Never a blind sleep."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

import httpx

from parties.client import ServerClient
from utils.addresses import in_brackets, unused_socket
from utils.errors import AddressInvalid, PortInUse, ServerUnreachable

START_SECONDS = 180.0
"""How long a server may take to load its circuits and warm its workers."""
POLL_SECONDS = 0.25
REPORT_SECONDS = 5.0


def check_port(host: str, port: int, what: str, setting: str) -> None:
    """Raise an error where nothing can listen at host and port.

    It is PortInUse where something listens there already, and AddressInvalid where the host is no
    address of this machine. `setting` names the port.
    """
    try:
        unused_socket(host, port).close()
    except OSError as error:
        fault = f"{what} cannot listen at {in_brackets(host)}:{port} ({error.strerror or error})."
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortInUse(
                f"{fault} End what uses the port, or set {setting} to another one."
            ) from error
        raise AddressInvalid(
            f"{fault} Set the host to an address of this machine, such as 127.0.0.1 or ::1."
        ) from error


def wait_for_server(
    client: ServerClient,
    say: Callable[[str], None],
    seconds: float = START_SECONDS,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Poll /health until the server's workers are warm; raises ServerUnreachable in the end.

    `say` is told at once and every few seconds what is awaited; `alive` is called between polls
    and may raise to end the wait.
    """
    start = time.monotonic()
    told = -REPORT_SECONDS
    while True:
        alive()
        waited = time.monotonic() - start
        try:
            status = client.health().status
            if status == "ok":
                return
            what = f"the server at {client.url} is loading its model"
        except ServerUnreachable as error:
            what = f"no answer from {client.url} yet"
            if waited >= seconds:
                raise error
        if waited >= seconds:
            raise ServerUnreachable(
                f"The server at {client.url} was still starting after {seconds:.0f} seconds; "
                "look at its log."
            )
        if waited - told >= REPORT_SECONDS:
            say(f"Waiting for the server: {what} ({waited:.0f} s).")
            told = waited
        time.sleep(POLL_SECONDS)


def wait_for_page(url: str, alive: Callable[[], None] = lambda: None) -> None:
    """Ask for the page until it answers; raises ServerUnreachable in the end.

    A refusal counts: pages refuse a browser that has not opened their link. `alive` is called
    between the questions and may raise to end the wait.
    """
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        while time.monotonic() < deadline:
            alive()
            try:
                if client.get(url).status_code in (200, 403):
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(POLL_SECONDS)
    raise ServerUnreachable(f"The page does not answer at {url}; its log is above.")
