"""Ports of this machine: bound sockets, free ports, and the check that a port is free."""

from __future__ import annotations

import errno
import socket

from utils.addresses import in_brackets
from utils.errors import AddressInvalid, PortInUse


def unused_socket(host: str, port: int) -> socket.socket:
    """Return a socket bound to host and port, not listening yet.

    A port with only closed connections counts as free (SO_REUSEADDR). If a name resolves to IPv4
    and IPv6 addresses, an IPv4 address is used. Raises OSError.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that no process listens on at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int, what: str, setting: str) -> None:
    """Raise an error if a process cannot listen on `host` and `port`.

    Raises PortInUse if the port is taken, and AddressInvalid if the host is not an address of this
    machine. `what` names the listener and `setting` the setting of the port, for the message.
    """
    try:
        unused_socket(host, port).close()
    except OSError as error:
        fault = f"{what} cannot listen at {in_brackets(host)}:{port} ({error.strerror or error})."
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortInUse(
                f"{fault} Stop the process that uses the port, or set {setting} to another one."
            ) from error
        raise AddressInvalid(
            f"{fault} Set the host to an address of this machine, for example 127.0.0.1 or ::1."
        ) from error
