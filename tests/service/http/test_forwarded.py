"""Callers' addresses behind proxies: a forged header counts only if its sender is trusted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from settings import Settings
from tests.service.driver import Server
from utils.addresses import proxies_of
from utils.errors import AddressInvalid
from web.forwarded import forwarded

CALLS = 5


def statuses(server: Server) -> set[int]:
    """Return the statuses of calls of one caller that names another address in each."""
    return {
        server.http.get("/log", headers={"X-Forwarded-For": f"192.0.2.{i}"}).status_code
        for i in range(CALLS + 1)
    }


@pytest.mark.parametrize(("proxies", "limited"), [("", True), ("127.0.0.1", False)])
def test_forged_address_escapes_the_limit_only_if_its_sender_is_trusted(
    tmp_path: Path, proxies: str, limited: bool
) -> None:
    """The last case is the control: the attack works where the operator trusts the sender."""
    server = Server(tmp_path / "server", token_calls=CALLS, trusted_proxies=proxies)
    try:
        server.wait()
        assert (429 in statuses(server)) is limited
    finally:
        server.stop()


def seen(proxies: str, sender: str, *headers: tuple[str, str]) -> tuple[str, str]:
    """Return the address and the scheme that an app sees for a request."""
    found = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append((scope["client"][0], scope["scheme"]))

    scope = {
        "type": "http",
        "scheme": "http",
        "client": (sender, 40000),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(forwarded(app, proxies)(scope, None, None))  # type: ignore[arg-type]
    return found[0]


FOR, PROTO = "x-forwarded-for", "x-forwarded-proto"


@pytest.mark.parametrize(
    ("proxies", "sender", "headers", "found"),
    [
        ("", "127.0.0.1", [(FOR, "192.0.2.1"), (PROTO, "https")], ("127.0.0.1", "http")),
        ("10.0.0.1", "10.0.0.2", [(FOR, "192.0.2.1")], ("10.0.0.2", "http")),
        ("10.0.0.1", "10.0.0.1", [(FOR, "192.0.2.1"), (PROTO, "https")], ("192.0.2.1", "https")),
        ("10.0.0.0/8", "10.9.9.9", [(FOR, "2001:db8::1")], ("2001:db8::1", "http")),
        ("::1", "0:0:0:0:0:0:0:1", [(FOR, "[2001:db8::1]:5")], ("2001:db8::1", "http")),
        # What a caller wrote itself comes before what the proxies have added.
        ("10.0.0.1", "10.0.0.1", [(FOR, "198.51.100.7, 192.0.2.1")], ("192.0.2.1", "http")),
        ("10.0.0.0/8", "10.0.0.1", [(FOR, "evil, 192.0.2.1, 10.0.0.2")], ("192.0.2.1", "http")),
        ("10.0.0.1", "10.0.0.1", [(FOR, "evil"), (FOR, "192.0.2.1")], ("192.0.2.1", "http")),
        ("10.0.0.1", "10.0.0.1", [(PROTO, "file")], ("10.0.0.1", "http")),
    ],
)
def test_address_is_the_last_that_is_no_trusted_proxy(
    proxies: str, sender: str, headers: list[tuple[str, str]], found: tuple[str, str]
) -> None:
    assert seen(proxies, sender, *headers) == found


def test_listed_proxies_are_parsed() -> None:
    assert proxies_of("") == [] and proxies_of(" 10.1.2.3 ,, fd00::/64") == [
        "10.1.2.3",
        "fd00::/64",
    ]


@pytest.mark.parametrize("listed", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.1:80", "10.0.0"])
def test_anything_but_addresses_and_networks_is_refused(listed: str) -> None:
    with pytest.raises(AddressInvalid, match="address or a network"):
        proxies_of(listed)
    with pytest.raises(ValidationError, match="address or a network"):
        Settings(trusted_proxies=listed)
    with pytest.raises(AddressInvalid):
        seen(listed, "10.0.0.1")
