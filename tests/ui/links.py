"""The links that terminals print, and clients that have opened one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_LINK = re.compile(r"http://[^\s?]+/\?token=[\w-]+")


def printed_link(text: str) -> str | None:
    """The last link that was printed, if any."""
    found = _LINK.findall(text)
    return found[-1] if found else None


@contextmanager
def opened(link: str) -> Iterator[httpx.Client]:
    """A client with the page's cookie, whose addresses begin at the page's."""
    address = link.split("?")[0]
    with httpx.Client(
        base_url=address, trust_env=False, follow_redirects=True, timeout=20
    ) as client:
        assert client.get(link).status_code == 200
        yield client
