"""Waiting for a page that starts in another process."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from utils.errors import ServerUnreachable

START_SECONDS = 180.0
"""Time for a page to load its libraries and to reach its server."""
POLL_SECONDS = 0.25


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
    raise ServerUnreachable(f"The page at {url} does not respond; see its log.")
