"""Links printed by pages, and clients that have opened one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_LINK = re.compile(r"http://[^\s?]+/\?token=[\w-]+")


def printed_link(text: str) -> str | None:
    """Return the last printed link, if any."""
    found = _LINK.findall(text)
    return found[-1] if found else None


@contextmanager
def opened(link: str) -> Iterator[httpx.Client]:
    """Return a client with the page's cookie and its address as base URL."""
    address = link.split("?")[0]
    with httpx.Client(
        base_url=address, trust_env=False, follow_redirects=True, timeout=20
    ) as client:
        assert client.get(link).status_code == 200
        yield client
