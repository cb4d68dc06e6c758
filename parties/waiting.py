"""Waiting for the server's workers, which load the model when the server starts."""

from __future__ import annotations

import time
from collections.abc import Callable

from parties.client import ServerClient
from utils.errors import ServerUnreachable

START_SECONDS = 180.0
"""Time for a server to load its circuits and warm its workers."""
POLL_SECONDS = 0.25
REPORT_SECONDS = 5.0


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
