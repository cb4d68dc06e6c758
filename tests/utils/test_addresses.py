"""Hosts and URLs from configuration: normalised, or refused with a reason."""

from __future__ import annotations

import pytest

from utils.addresses import base_url_of, host_of, reachable, url_of
from utils.errors import AddressInvalid


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("localhost", "http://localhost:80"),
        ("::1", "http://[::1]:80"),
        ("[::1]", "http://[::1]:80"),
        ("2001:db8::7", "http://[2001:db8::7]:80"),
    ],
)
def test_an_ipv6_address_has_brackets_in_a_url(host: str, url: str) -> None:
    assert url_of(host, 80) == url


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        (" localhost\n", "localhost"),
        ("[::1]", "::1"),
        ("::", "::"),
        ("triseal_server-1.example.", "triseal_server-1.example."),
    ],
)
def test_valid_hosts_are_accepted(given: str, host: str) -> None:
    assert host_of(given) == host


@pytest.mark.parametrize(
    "given",
    [
        *("", " ", "http://127.0.0.1", "127.0.0.1:8000", "[::1", "::1]", "[localhost]", "[]"),
        *("a b", "user@host", "host/path", "300.1.1.1", "1.2.3", "-a", "a..b", ":::", "x" * 64),
    ],
)
def test_invalid_hosts_raise_address_invalid(given: str) -> None:
    with pytest.raises(AddressInvalid, match="A host must be a name or an IP address"):
        host_of(given)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        (" http://[::1]:8000/ \n", "http://[::1]:8000"),
        ("https://lender.example/triseal//", "https://lender.example/triseal"),
        ("HTTP://localhost", "http://localhost"),
    ],
)
def test_valid_urls_are_accepted(given: str, url: str) -> None:
    assert base_url_of(given) == url


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "begin with http://"),
        ("127.0.0.1:8000", "begin with http://"),
        ("localhost", "begin with http://"),
        ("ftp://localhost", "begin with http://"),
        ("http://", "no host"),
        ("http:///docs", "no host"),
        ("http://:8000", "no host"),
        ("http://localhost:99999", "a number from 1 to 65535"),
        ("http://localhost:0", "a number from 1 to 65535"),
        ("http://localhost:", "a number from 1 to 65535"),
        ("http://localhost:eight", "a number from 1 to 65535"),
        ("http://localhost:٨", "a number from 1 to 65535"),
        ("http://::1:8000", "in brackets"),
        ("http://[::1", "valid host"),
        ("http://[::1]x", "in brackets"),
        ("http://[nothing]:1", "valid host"),
        ("http://local host:1", "no spaces"),
        ("http://localhost/a b", "no spaces"),
        ("http://localhost\\elsewhere", "no spaces"),
        ("http://localhost/?x", "or #"),
        ("http://localhost#x", "or #"),
        ("http://300.0.0.1", "A host must be"),
    ],
)
def test_invalid_urls_raise_address_invalid(given: str, reason: str) -> None:
    with pytest.raises(AddressInvalid, match=reason) as refused:
        base_url_of(given)
    assert "\n" not in refused.value.message


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(AddressInvalid, match="user name or password") as refused:
        base_url_of("http://clerk:hunter2@localhost:8000")
    assert "hunter2" not in refused.value.message and "clerk" not in refused.value.message


def test_a_service_on_all_addresses_is_reached_at_the_loopback_address() -> None:
    assert reachable("0.0.0.0") == "127.0.0.1"  # noqa: S104
    assert reachable("::") == "::1"
    assert reachable("192.0.2.1") == "192.0.2.1"
