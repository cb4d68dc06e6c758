"""The host names and origins that a service accepts."""

import pytest

from utils.errors import InvalidRequest
from utils.hosts import AllowedHosts, Authority, parse_names

EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared with, never bound


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("Triseal.Example", "triseal.example", None),
        ("localhost:8000", "localhost", 8000),
        ("[::1]:80", "::1", 80),
        ("[0:0:0:0:0:0:0:1]", "::1", None),
        ("192.0.2.7", "192.0.2.7", None),
        ("a_b.example", "a_b.example", None),
    ],
)
def test_valid_host_is_parsed(text, name, port):
    assert Authority.parse(text) == Authority(name, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "*",
        "*.example",
        "-a.example",
        "a b",
        "a:b",
        "a:0",
        "a:65536",
        "a:80:90",
        "user@a",
        "a/b",
        "::1",
        "[a]",
        "[::1",
        "bücher.example",
        "a\r\nb",
        "a.",
        "x" * 300,
    ],
)
def test_invalid_hosts_are_refused(text):
    with pytest.raises(InvalidRequest):
        Authority.parse(text)
    assert AllowedHosts("127.0.0.1").named(text) is None


def test_authority_is_formatted_like_an_address():
    assert str(Authority("::1", 80)) == "[::1]:80"
    assert str(Authority("a.example")) == "a.example"


@pytest.mark.parametrize("host", ["127.0.0.1", EVERYWHERE, "::", "::1", "192.0.2.7"])
def test_this_machines_names_are_always_allowed(host):
    hosts = AllowedHosts(host)
    for name in ("localhost", "127.0.0.1:8000", "[::1]:9"):
        assert hosts.named(name)
    assert hosts.named("evil.example") is None and hosts.named("198.51.100.1") is None


def test_own_proxy_and_listed_hosts_are_allowed():
    hosts = AllowedHosts("192.0.2.7", "https://Triseal.example/api", "10.0.0.5, pod.test")
    for name in ("192.0.2.7:8000", "triseal.example", "10.0.0.5:8000", "pod.test"):
        assert hosts.named(name), name
    for name in ("example", "x.triseal.example", "triseal.example.evil.test", EVERYWHERE):
        assert hosts.named(name) is None, name


@pytest.mark.parametrize(
    ("called", "origin", "allowed"),
    [
        ("localhost:8000", "http://localhost:8000", True),
        ("localhost:8000", "https://localhost:8000", True),
        ("localhost", "http://localhost", True),
        ("localhost:80", "http://localhost", True),
        ("localhost:443", "https://localhost", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("localhost:8000", "https://triseal.example", True),
        ("localhost:8000", "http://localhost:8001", False),
        ("localhost:8000", "http://localhost", False),
        ("localhost:8000", "http://127.0.0.1:8000", False),
        ("localhost:8000", "http://triseal.example:81", False),
        ("localhost:8000", "http://pod.test", False),
        ("localhost:8000", "null", False),
        ("localhost:8000", "", False),
        ("localhost:8000", "file://", False),
        ("localhost:8000", "chrome-extension://localhost:8000", False),
        ("localhost:8000", "http://[::1", False),
    ],
)
def test_origins_are_compared_with_their_port(called, origin, allowed):
    hosts = AllowedHosts("127.0.0.1", "https://triseal.example", "pod.test")
    assert hosts.allows_origin(origin, Authority.parse(called)) is allowed


def test_listed_name_with_a_port_is_refused():
    assert parse_names(" a.example,, [::1] ,") == ("a.example", "::1")
    with pytest.raises(InvalidRequest, match="without ports"):
        parse_names("a.example:80")
