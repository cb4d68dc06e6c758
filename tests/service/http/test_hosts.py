"""The server accepts requests for its own host names only, and from no page of another origin."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.app import create_app
from service.http.hosts import hosts_of
from settings import Settings
from tests.service.driver import Server
from tests.service.http.test_security_headers import require_guarded
from trials.stand_in import load
from utils.hosts import AllowedHosts
from web.hosts import HostGuard

CALLS = (
    ("GET", "/health"),
    ("GET", "/health/live"),
    ("GET", "/metrics"),
    ("GET", "/model"),
    ("POST", "/applications"),
    ("POST", "/send_file"),
    ("PUT", "/applications/0/slots/encrypted_inputs"),
    ("GET", "/operator/applications"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_foreign_host_name_gets_421(server: Server, method: str, path: str) -> None:
    for host in ("evil.example", f"evil.example:{server.http.base_url.port}", "localhost.evil", ""):
        answer = server.http.request(method, path, headers={"Host": host})
        assert answer.status_code == 421, host
        assert answer.json()["type"] == "urn:triseal:error:unknown-host"
        assert "TRISEAL_ALLOWED_HOSTS" in answer.json()["detail"]
        assert "evil" not in answer.text
        require_guarded(answer, policy=None)


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_foreign_origin_is_refused(server: Server, method: str, path: str) -> None:
    for origin in ("https://elsewhere.example", "http://127.0.0.1:1", "null"):
        answer = server.http.request(method, path, headers={"Origin": origin})
        assert answer.status_code == 403, origin
        assert answer.json()["type"] == "urn:triseal:error:foreign-origin"
        require_guarded(answer, policy=None)


def test_conflicting_host_names_are_refused(server: Server) -> None:
    address = (server.http.base_url.host, server.http.base_url.port)
    with socket.create_connection(
        address, timeout=20
    ) as connection:  # HTTP clients do not send two
        connection.sendall(b"GET /model HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 421 ")


def test_own_documentation_page_may_call(server: Server) -> None:
    own = str(server.http.base_url).rstrip("/")
    assert server.http.get("/model", headers={"Origin": own}).status_code == 200
    assert server.http.post("/applications", headers={"Origin": own}).status_code == 201


def test_configured_names_of_probes_and_proxies_are_accepted(
    start: Callable[..., Server],
) -> None:
    server = start(allowed_hosts="10.1.2.3,triseal.test", server_url="https://public.test").wait()
    for host in ("10.1.2.3:8000", "triseal.test", "public.test", "localhost", "[::1]"):
        assert server.http.get("/health/live", headers={"Host": host}).status_code == 200
    assert server.http.get("/health/live", headers={"Host": "10.1.2.4"}).status_code == 421
    for origin, status in (("https://public.test", 201), ("https://triseal.test", 403)):
        answer = server.http.post("/applications", headers={"Origin": origin})
        assert answer.status_code == status


def test_listening_on_all_addresses_adds_no_name() -> None:
    hosts = hosts_of(Settings(server_host="0.0.0.0"))  # noqa: S104 - nothing is bound
    assert hosts.named("localhost:8000")
    assert hosts.named("0.0.0.0:8000") is None and hosts.named("192.0.2.1:8000") is None


@pytest.mark.parametrize("listed", ["*", "a.example:80", "http://a.example", "a b"])
def test_invalid_allowed_hosts_setting_is_refused(listed: str) -> None:
    with pytest.raises(ValueError, match="allowed_hosts"):
        Settings(allowed_hosts=listed)


def test_host_guard_runs_before_other_middleware() -> None:
    assert create_app(Settings(), load).user_middleware[0].cls is HostGuard


def test_websocket_under_a_foreign_host_name_is_closed() -> None:
    sent: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("it was let through")

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async def receive() -> Message:
        raise AssertionError("nothing is to be read")

    scope = {"type": "websocket", "headers": [(b"host", b"evil.example")]}
    asyncio.run(HostGuard(app, AllowedHosts("127.0.0.1"), "name", "origin")(scope, receive, send))
    assert sent == ["websocket.close"]
