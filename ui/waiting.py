"""Checks that a port is free, and waits until the server or a page is ready."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable

import httpx

from parties.client import ServerClient
from utils.addresses import in_brackets, unused_socket
from utils.errors import AddressInvalid, PortInUse, ServerUnreachable

START_SECONDS = 180.0
"""Time for a server to load its circuits and warm its workers."""
POLL_SECONDS = 0.25
REPORT_SECONDS = 5.0


def check_port(host: str, port: int, what: str, setting: str) -> None:
    """Raise an error if a process cannot listen on `host` and `port`.

    Raises PortInUse if the port is taken, and AddressInvalid if the host is not an address of this
    machine. `what` names the listener and `setting` the setting of the port, for the message.
    """
    try:
        unused_socket(host, port).close()
    except OSError as error:
        fault = f"{what} cannot listen at {in_brackets(host)}:{port} ({error.strerror or error})."
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortInUse(
                f"{fault} Stop the process that uses the port, or set {setting} to another one."
            ) from error
        raise AddressInvalid(
            f"{fault} Set the host to an address of this machine, for example 127.0.0.1 or ::1."
        ) from error


def wait_for_server(
    client: ServerClient,
    say: Callable[[str], None],
    seconds: float = START_SECONDS,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Poll /health until the server's workers are warm.

    Calls `say` with the reason for waiting at once and every few seconds, and `alive` before each
    poll, which may raise to end the wait. Raises ServerUnreachable after `seconds`.
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
            what = f"no response from {client.url} yet"
            if waited >= seconds:
                raise error
        if waited >= seconds:
            raise ServerUnreachable(
                f"The server at {client.url} was still starting after {seconds:.0f} seconds; "
                "see its log."
            )
        if waited - told >= REPORT_SECONDS:
            say(f"Waiting for the server: {what} ({waited:.0f} s).")
            told = waited
        time.sleep(POLL_SECONDS)


def wait_for_page(url: str, alive: Callable[[], None] = lambda: None) -> None:
    """Request the page until it responds; raises ServerUnreachable after `START_SECONDS`.

    A response of 403 counts, because pages refuse a browser that has not opened their link.
    `alive` is called before each request and may raise to end the wait.
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
    raise ServerUnreachable(f"The page at {url} does not respond; see its log above.")
