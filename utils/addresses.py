"""Addresses of services: URLs made of a host and a port, and parsing of configured addresses."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from utils.errors import AddressInvalid

_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?")
_DIGITS_AND_DOTS = re.compile(r"[0-9.]+")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(:(?P<port>[^\[\]:]*))?")
_LARGEST_PORT = 65535


def url_of(host: str, port: int) -> str:
    """Return the URL of a service at host and port, with an IPv6 address in brackets."""
    return f"http://{in_brackets(host)}:{port}"


def in_brackets(host: str) -> str:
    """Return the host as written in a URL: an IPv6 address in brackets, all else unchanged."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def reachable(host: str) -> str:
    """Return the address at which this machine reaches a service that listens on `host`.

    A service that listens on all addresses is reached at the loopback address.
    """
    return _LOOPBACK_OF.get(host, host)


def host_of(text: str) -> str:
    """Parse a host, a name or an IP address, and return it without brackets and spaces.

    Raises AddressInvalid.
    """
    given = text.strip()
    host = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    try:
        ip_address(host)
    except ValueError:
        if given != host or not _NAME.fullmatch(host) or _DIGITS_AND_DOTS.fullmatch(host):
            raise AddressInvalid(
                "A host must be a name or an IP address, for example localhost, 127.0.0.1 or ::1, "
                "without scheme, port or path."
            ) from None
    return host


def proxies_of(text: str) -> list[str]:
    """Parse comma-separated IP addresses and networks, and return each in its usual form.

    Raises AddressInvalid, also for a network with bits of a host, such as `10.0.0.1/8`.
    """
    found = []
    for entry in (part.strip() for part in text.split(",")):
        try:
            if entry:
                found.append(str(ip_network(entry) if "/" in entry else ip_address(entry)))
        except ValueError:
            raise AddressInvalid(
                "A proxy must be an IP address or a network, for example 10.1.2.3, ::1 or "
                "10.1.0.0/16; separate several with commas."
            ) from None
    return found


def base_url_of(text: str) -> str:
    """Parse a base URL, which may have a path, and return it without a trailing slash.

    Raises AddressInvalid, with a message that does not quote the URL: it may contain a password.
    """
    given = text.strip()
    if "://" not in given:
        raise AddressInvalid(
            "The URL must begin with http:// or https://, for example http://127.0.0.1:8000."
        )
    try:
        parts = urlsplit(given)
    except ValueError as error:  # for example, an unmatched bracket
        raise AddressInvalid(
            "The URL has no valid host; a valid URL is, for example, http://[::1]:8000."
        ) from error
    if parts.scheme not in ("http", "https"):
        raise AddressInvalid("The URL must begin with http:// or https://.")
    if "@" in parts.netloc:
        raise AddressInvalid(
            "The URL must not contain a user name or password, since neither is used."
        )
    if "?" in given or "#" in given or re.search(r"[\s\\\x00-\x1f\x7f]", given):
        raise AddressInvalid(
            "The URL may contain scheme, host, port and path only: no ? or #, no backslash and "
            "no spaces."
        )
    found = _AUTHORITY.fullmatch(parts.netloc)
    if found is None:
        raise AddressInvalid(
            "The URL has no valid host; write an IPv6 address in brackets: http://[::1]:8000."
        )
    if not found["host"]:
        raise AddressInvalid("The URL has no host; add one, for example 127.0.0.1.")
    netloc = in_brackets(host_of(found["host"]))
    if found["port"] is not None:
        netloc += f":{_port_of(found['port'])}"
    return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"


def _port_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5) or not (
        1 <= int(text) <= _LARGEST_PORT
    ):
        raise AddressInvalid(f"The port of the URL must be a number from 1 to {_LARGEST_PORT}.")
    return int(text)
