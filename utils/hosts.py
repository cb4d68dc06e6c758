"""Validation of the headers Host and Origin.

A page whose host name resolves to this machine (DNS rebinding) is same-origin with the service as
far as the browser can tell. The name that it sends in the header Host gives it away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

from utils.errors import InvalidRequest

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, never bound
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?")
REMEMBERED = 32
"""Values of the header Host whose parsed form is kept; almost all calls have the same few."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Authority:
    """A host name in lower case, without brackets, and an optional port."""

    name: str
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name`, `name:port`, `[IPv6]` or `[IPv6]:port`; raises InvalidRequest."""
        found = re.fullmatch(r"(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]:/@\s]+)(?::([0-9]{1,5}))?", text)
        if found is None:
            raise InvalidRequest("This is not a valid host: give a name, or a name and a port.")
        name = found[1].strip("[]").lower()
        try:
            name = str(ip_address(name))
        except ValueError:
            if found[1].startswith("[") or not _NAME.fullmatch(name):
                raise InvalidRequest("This is not a valid host name.") from None
        port = None if found[2] is None else int(found[2])
        if port is not None and not 1 <= port <= 65535:
            raise InvalidRequest("A port must be a number from 1 to 65535.")
        return cls(name, port)

    @classmethod
    def of_url(cls, url: str) -> Self:
        """Return the authority of a URL or origin (RFC 6454), without the scheme's default port.

        Raises InvalidRequest, also for the origin `null`.
        """
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise InvalidRequest("This is not a valid URL.") from error
        if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
            raise InvalidRequest("A URL must begin with http:// or https:// and a host.")
        found = cls.parse(parts.netloc)
        return cls(found.name, None if found.port == _DEFAULT_PORTS[parts.scheme] else found.port)

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"


class AllowedHosts:
    """The host names that a service accepts: its own, this machine's, and those listed.

    `host` is the address it listens on, `url` its URL behind a proxy, and `listed` the setting.
    Raises InvalidRequest if one of them is invalid.
    """

    def __init__(self, host: str, url: str | None = None, listed: str = "") -> None:
        names = {*LOOPBACK, *parse_names(listed)}
        if host not in EVERYWHERE:
            names.add(Authority.parse(f"[{host}]" if ":" in host else host).name)
        self._own = None if url is None else Authority.of_url(url)
        if self._own is not None:
            names.add(self._own.name)
        self._names = frozenset(names)
        self._named = lru_cache(REMEMBERED)(self._find)

    def named(self, host: str) -> Authority | None:
        """Return the authority in a header Host, or None if its name is not allowed.

        The port is ignored: it does not identify the caller, and it differs behind a proxy.
        """
        return self._named(host)

    def _find(self, host: str) -> Authority | None:
        try:
            found = Authority.parse(host)
        except InvalidRequest:
            return None
        return found if found.name in self._names else None

    def allows_origin(self, origin: str, called: Authority) -> bool:
        """Return True if pages of this origin may call: the called host's, or the proxy's.

        The port is compared, since another port of the same host belongs to another program.
        """
        try:
            found = Authority.of_url(origin)
        except InvalidRequest:
            return False
        return found == self._own or found in _same(called)


def parse_names(listed: str) -> tuple[str, ...]:
    """Parse comma-separated host names; raises InvalidRequest if one is invalid or has a port."""
    found = [Authority.parse(entry.strip()) for entry in listed.split(",") if entry.strip()]
    if any(entry.port is not None for entry in found):
        raise InvalidRequest("Give host names without ports: a name applies to every port.")
    return tuple(entry.name for entry in found)


def _same(called: Authority) -> tuple[Authority, ...]:
    """Return the authority, and also without its port if that is a default one, as in origins."""
    if called.port in _DEFAULT_PORTS.values():
        return called, Authority(called.name)
    return (called,)
