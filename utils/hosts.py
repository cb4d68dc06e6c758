"""The names by which a service may be called, and the origins of pages that may call it.

A browser sends the name in an address as the header Host. A page on a foreign name that resolves
to this machine (DNS rebinding) passes for the service's own page until that name is compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from utils.errors import InvalidRequest

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, never bound
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Authority:
    """A host's name in lower case, without brackets, and the port where one is given."""

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name`, `name:port`, `[IPv6]` or `[IPv6]:port`; raises InvalidRequest."""
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]:/@\s]+)(?::([0-9]{1,5}))?", text)
        if found is None:
            raise InvalidRequest("This is not a host: give a name, or a name and a port.")
        name = found[1].strip("[]").lower()
        try:
            name = str(ip_address(name))
        except ValueError:
            if found[1].startswith("[") or not _NAME.fullmatch(name):
                raise InvalidRequest("This is not the name of a host.") from None
        port = None if found[2] is None else int(found[2])
        if port is not None and not 1 <= port <= 65535:
            raise InvalidRequest("A port is a number from 1 to 65535.")
        return cls(name, port)

    @classmethod
    def of_url(cls, url: str) -> Self:
        """The authority of a web address, without the scheme's usual port; raises InvalidRequest.

        An origin (RFC 6454) is such an address without a path; `null` is none.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise InvalidRequest("This is not a web address.") from error
        if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
            raise InvalidRequest("A web address begins with http:// or https:// and a host.")
        found = cls.parse(parts.netloc)
        return cls(found.name, None if found.port == _DEFAULT_PORTS[parts.scheme] else found.port)

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"


class AllowedHosts:
    """The names by which one service may be called: its own, this machine's, and those listed.

    `host` is where it listens, `url` its address behind a proxy, and `listed` the setting. Raises
    InvalidRequest where one of them cannot be read.
    """

    def __init__(self, host: str, url: str | None = None, listed: str = "") -> None:
        names = {*LOOPBACK, *parse_names(listed)}
        if host not in EVERYWHERE:
            names.add(Authority.parse(f"[{host}]" if ":" in host else host).name)
        self._own = None if url is None else Authority.of_url(url)
        if self._own is not None:
            names.add(self._own.name)
        self._names = frozenset(names)

    def named(self, host: str) -> Authority | None:
        """The authority of a header Host where its name is allowed; None otherwise.

        The port is not compared: it says nothing of who asks, and differs behind a proxy.
        """
        try:
            found = Authority.parse(host)
        except InvalidRequest:
            return None
        return found if found.name in self._names else None

    def allows_origin(self, origin: str, called: Authority) -> bool:
        """Whether a page of this origin may call: one of the called host, or of the proxy's.

        The port counts here: another port of the same host is another program's page.
        """
        try:
            found = Authority.of_url(origin)
        except InvalidRequest:
            return False
        return found == self._own or found in _same(called)


def parse_names(listed: str) -> tuple[str, ...]:
    """Read host names that commas separate; raises InvalidRequest where one has a port."""
    found = [Authority.parse(entry.strip()) for entry in listed.split(",") if entry.strip()]
    if any(entry.port is not None for entry in found):
        raise InvalidRequest("Give the names of hosts without ports: a name holds for every port.")
    return tuple(entry.name for entry in found)


def _same(called: Authority) -> tuple[Authority, ...]:
    """The authority, and without its port where that is a usual one, as origins have it."""
    if called.port in _DEFAULT_PORTS.values():
        return called, Authority(called.name)
    return (called,)
