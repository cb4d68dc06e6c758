"""Bound sockets and ports in use."""

from __future__ import annotations

import errno
import socket

import pytest

from utils.ports import unused_socket


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_unused_socket_is_bound_but_does_not_listen(host: str) -> None:
    with unused_socket(host, 0) as bound:
        place = bound.getsockname()[:2]
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(place)
        bound.listen()
        with pytest.raises(OSError) as taken:
            unused_socket(*place)
        assert taken.value.errno == errno.EADDRINUSE
        socket.create_connection(place).close()


def test_name_with_ipv4_and_ipv6_uses_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with unused_socket("both.example", 0) as bound:
        assert bound.family == socket.AF_INET
