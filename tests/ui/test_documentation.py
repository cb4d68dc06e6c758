"""The documentation pages in a real browser: complete, and loaded only from this server."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.parties.running import LiveServer
from tests.ui.accessible import WITHOUT_CONTRAST, barriers, check_accessible
from tests.ui.hosts import assert_names_no_other_host

WIDTHS = (1280, 390)
COMPLETED = """() => !document.querySelector(
  ".opblock-summary-control a[href], .examples-select-element:not([aria-label])"
) && [...document.querySelectorAll("pre:not([tabindex])")]
  .every((each) => each.scrollWidth <= each.clientWidth)"""
"""Elements that documentation.js completes after the viewer has drawn them."""


class PrefixProxy:
    """A reverse proxy that serves only `target`, under `/inner/triseal`."""

    prefix = b"/inner/triseal"

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.asked: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{self.prefix.decode()}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        """Forward one request per connection without the prefix, and return the response."""
        with closing(client):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = client.recv(1 << 16)
                if not piece:
                    return
                head += piece
            method, path, rest = head.split(b" ", 2)
            self.asked.append(path)
            if not path.startswith(self.prefix + b"/"):
                client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                return
            rest = rest.replace(b"keep-alive", b"close")
            with closing(socket.create_connection(("127.0.0.1", self._target))) as server:
                server.sendall(b" ".join((method, path.removeprefix(self.prefix), rest)))
                while piece := server.recv(1 << 16):
                    client.sendall(piece)


class Documentation:
    """The page, with its requests and the errors of its browser."""

    def __init__(self, page: Any, url: str, path: str = "/docs", ready: str = ".opblock") -> None:
        self.page, self.asked, self.complaints = page, [], []
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        page.set_default_timeout(40_000)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("requestfailed", lambda request: self.complaints.append(request.url))
        page.on(
            "console",
            lambda said: said.type in ("error", "warning") and self.complaints.append(said.text),
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(f"{url}{path}")
        page.wait_for_selector(ready)

    def try_health(self) -> str:
        """Request /health/live with the page's own button; returns the response that it shows."""
        call = self.page.locator(".opblock:has([data-path='/health/live'])")
        call.locator(".opblock-summary").click()
        call.get_by_role("button", name="Try it out").click()
        call.get_by_role("button", name="Execute").click()
        return str(
            call.locator(".live-responses-table .response .response-col_description").inner_text()
        )


@pytest.fixture(scope="module")
def proxy(live_server: LiveServer) -> Iterator[PrefixProxy]:
    with closing(PrefixProxy(live_server.port)) as made:
        yield made


@pytest.fixture(scope="module")
def shown(context: Any, proxy: PrefixProxy) -> Documentation:
    """Return the page, loaded once, through a proxy that adds a prefix and has nothing else."""
    return Documentation(context.new_page(), proxy.url)


def assert_all_from(asked: list[str], url: str) -> None:
    place = urlsplit(url).netloc
    assert {urlsplit(each).netloc for each in asked if not each.startswith("data:")} == {place}


def test_page_shows_every_call_and_contacts_no_other_host(
    shown: Documentation, proxy: PrefixProxy
) -> None:
    calls = shown.page.evaluate(
        "async () => Object.values((await (await fetch('openapi.json')).json()).paths)"
        ".flatMap((path) => Object.keys(path)).length"
    )
    assert shown.page.locator(".opblock").count() == calls > 20
    for width in WIDTHS:
        shown.page.set_viewport_size({"width": width, "height": 900})
        excess = shown.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert excess <= 0, "nothing is cut off at the side"
    assert_names_no_other_host(shown.page)
    assert '"status"' in shown.try_health()
    assert_all_from(shown.asked, proxy.url)
    assert proxy.asked and all(path.startswith(proxy.prefix + b"/") for path in proxy.asked)
    assert shown.complaints == [], "such as of the Content-Security-Policy"
    shown.page.locator(".opblock-post .opblock-summary").first.click()
    shown.page.locator(".opblock-post .examples-select-element").first.wait_for()
    check_usable(shown.page)


def check_usable(page: Any) -> None:
    """Assert that the page has no barrier, once documentation.js has completed what is drawn.

    No violation of a viewer needs an exception. The viewers have no dark mode, and a narrow window
    shows no text that a wide one does not.
    """
    page.wait_for_function(COMPLETED)
    wide, narrow = WIDTHS
    check_accessible(page, ("light",), (wide,))
    page.set_viewport_size({"width": narrow, "height": 900})
    assert barriers(page.main_frame, WITHOUT_CONTRAST) == []


def test_redoc_shows_every_call_and_contacts_no_other_host(
    context: Any, proxy: PrefixProxy
) -> None:
    shown = Documentation(context.new_page(), proxy.url, "/redoc", "[data-section-id]")
    calls = "[data-section-id*='operation/'], [data-section-id*='/paths/']"
    shown.page.wait_for_selector(calls)
    assert "POST" in shown.page.inner_text("#api").upper()
    for width in WIDTHS:
        shown.page.set_viewport_size({"width": width, "height": 900})
        excess = shown.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert excess <= 0, "nothing is cut off at the side"
    assert_names_no_other_host(shown.page)
    assert_all_from(shown.asked, proxy.url)
    assert shown.complaints == [], "such as of the Content-Security-Policy"
    check_usable(shown.page)
    shown.page.close()


@pytest.mark.parametrize("path", ["docs", "redoc"])
def test_links_of_a_page_work_without_a_proxy_too(live_server: LiveServer, path: str) -> None:
    with httpx.Client(base_url=live_server.url, trust_env=False) as http:
        page = http.get(path)
        linked = re.findall(r'(?:src|href|spec-url)="([^":]+)"', page.text)
        assert len(linked) >= 3
        for name in (*linked, "openapi.json"):  # the last is named in a script of /docs
            assert http.get(str(page.url.join(name))).status_code == 200, name


def test_content_security_policy_blocks_other_hosts(shown: Documentation) -> None:
    """After the test of the page's own complaints, since it causes some."""
    for kind in ("img", "script"):
        refused = shown.page.evaluate(
            "kind => new Promise((told) => {"
            " document.addEventListener('securitypolicyviolation', (e) => told(e.blockedURI));"
            " const asked = document.createElement(kind);"
            " asked.src = 'http://elsewhere.example/x'; document.body.append(asked); })",
            kind,
        )
        assert refused == "http://elsewhere.example/x"
