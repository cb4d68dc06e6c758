"""`python -m parties owner` and `institution`: listeners, pages, and refusals before any start."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import httpx
import pytest

from parties import institution_command, owner_command
from settings import Settings
from utils.errors import InvalidRequest, NotAuthorised, PortInUse
from utils.ports import free_port


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch):
    monkeypatch.setattr("parties.governance.api.serving.stop_on_sigterm", lambda: None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)


@pytest.fixture
def away():
    return f"http://127.0.0.1:{free_port()}"


def owner_words(home, server, *more):
    return ["--name", "ann", "--home", str(home), "--server", server, *more]


def test_port_in_use_is_reported_before_anything_is_made(tmp_path, away):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for options in (
            ("--api-port", port),
            ("--api-port", str(free_port()), "--exchange-port", port),
        ):
            wanted = owner_command.parse(owner_words(tmp_path / "ann", away, *options))
            with pytest.raises(PortInUse):
                owner_command.run(wanted, Settings())
        token = tmp_path / "token"
        token.write_text("secret")
        token.chmod(0o600)
        words = ["--name", "bank", "--home", str(tmp_path / "bank"), "--token-file", str(token)]
        wanted = institution_command.parse([*words, "--api-port", port])
        with pytest.raises(PortInUse):
            institution_command.run(wanted, Settings())
        token.chmod(0o644)
        with pytest.raises(NotAuthorised):
            institution_command.run(wanted, Settings())
    assert not (tmp_path / "ann").exists() and not (tmp_path / "bank").exists()


def test_page_and_interface_are_served_together(tmp_path, away, capsys):
    """A page runs in the main thread; the interface and the exchange end with it."""
    api, exchange, page = free_port(), free_port(), free_port()
    seen = []

    @contextmanager
    def open_pages():
        def serve(agent, settings, port):
            token = (tmp_path / "ann" / "api_token").read_text().strip()
            headers = {"Authorization": f"Bearer {token}"}
            key = httpx.get(f"http://127.0.0.1:{api}/key", headers=headers).json()
            brought = httpx.post(f"http://127.0.0.1:{exchange}/exchange", json={})
            seen.append((agent.key, key, port, brought.status_code))

        yield serve

    options = ("--api-port", str(api), "--exchange-port", str(exchange), "--page-port", str(page))
    wanted = owner_command.parse(owner_words(tmp_path / "ann", away, *options))
    owner_command.run(wanted, Settings(), open_pages)
    [(key, answer, port, brought)] = seen
    assert answer == {"name": "ann", "key": key} and (port, brought) == (page, 422)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{api}/key")
    printed = capsys.readouterr().out
    token = (tmp_path / "ann" / "api_token").read_text().strip()
    assert key in printed and "api_token" in printed and token not in printed

    with pytest.raises(InvalidRequest, match="no page"):  # and the folder can be opened again
        owner_command.run(wanted, Settings())
