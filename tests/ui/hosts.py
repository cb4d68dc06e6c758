"""Pages that name and contact no host but this machine.

The tests' Chromium resolves no other name (`ONLY_THIS_MACHINE`), and every request that a page
makes, also one that fails, is noted: none may be to another host, in any test.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]", "::1")
ONLY_THIS_MACHINE = ", ".join(("MAP * ~NOTFOUND", *(f"EXCLUDE {name}" for name in THIS_MACHINE)))
"""A value of Chromium's `--host-resolver-rules`."""
_HOST = re.compile(
    r"(?:https?:|wss?:)?//([A-Za-z0-9.-]+\.[A-Za-z]{2,})(?::\d+)?(?=[/\"'?#\\\s;<]|$)"
)
_NAMESPACES = {"www.w3.org", "json-schema.org"}
"""Hosts of names of formats, which are not addresses."""


def other_hosts(urls: list[str]) -> set[str]:
    """Return the hosts of the addresses that are not this machine."""
    parts = [urlsplit(url) for url in urls]
    found = {part.hostname or "" for part in parts if part.scheme not in ("data", "blob", "about")}
    return found - {"", *THIS_MACHINE}


def named_hosts(text: str) -> set[str]:
    """Return the other hosts that a document or a policy names in an address."""
    return set(_HOST.findall(text)) - _NAMESPACES - set(THIS_MACHINE)


def note_requests(browser: Any) -> list[str]:
    """Return the list to which the requests of all pages of a browser are added from now on.

    Requests of frames and workers are among them, and those that fail.
    """
    asked: list[str] = []
    new_context = browser.new_context

    def noted(**options: Any) -> Any:
        context = new_context(**options)
        context.on("request", lambda request: asked.append(request.url))
        return context

    browser.new_context = noted
    browser.new_page = lambda **options: noted(**options).new_page()
    return asked


def assert_names_no_other_host(page: Any, url: str | None = None) -> None:
    """The document of a page, or of a frame in it at `url`, and its policy name no other host."""
    answer = page.context.request.get(url or page.url)
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/html")
    policy = answer.headers.get("content-security-policy", "")
    assert "default-src" in policy
    assert named_hosts(policy) == set() and named_hosts(answer.text()) == set()
