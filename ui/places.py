"""Addresses of the pages, their access tokens, and which page may frame which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from settings import PARTY, Settings
from ui.access import PageAccess, link
from utils.addresses import reachable, url_of
from utils.hosts import AllowedHosts, Authority

Sources = Callable[[Authority], tuple[str, ...]]
"""Origins, given the host that the browser requested."""


def nobody(_: Authority) -> tuple[str, ...]:
    """Return no origins."""
    return ()


@dataclass(frozen=True)
class Place:
    """The address at which a page listens, its title, its access token, and its framing rules.

    `url` is its address behind a proxy, if it has one. Pages of the origins in `framed_by` may
    frame it, and it may frame pages of the origins in `frames`.
    """

    title: str
    host: str
    port: int
    hosts: AllowedHosts
    access: PageAccess
    url: str | None = None
    framed_by: Sources = nobody
    frames: Sources = nobody

    @property
    def address(self) -> str:
        """The address at which browsers reach the page."""
        return self.url or url_of(reachable(self.host), self.port)

    def cookie(self) -> Mapping[str, str]:
        """Return the header that sets the page's cookie, for its own address only."""
        parts = urlsplit(self.address)
        return self.access.cookie(f"{parts.path}/", secure=parts.scheme == "https")


def said_address(place: Place) -> str:
    """Return the address to print: with the token, unless the token came from the settings."""
    if place.access.given:
        return f"{place.address} (add the token set in TRISEAL_PAGE_TOKEN)"
    return place.access.link(place.address)


def page_place(settings: Settings, parties: Sequence[str] = ()) -> Place:
    """Return the place of the single page or, with `parties`, of the stage."""
    host, port, url = settings.page_host, settings.page_port, _bare(settings.page_url)

    def frames(called: Authority) -> tuple[str, ...]:
        found = agent_addresses(settings, parties, called).values()
        return tuple(dict.fromkeys(_source(address) for address in found))

    return Place(
        title="the stage" if parties else "Triseal's page",
        host=host,
        port=port,
        hosts=AllowedHosts(host, url, settings.allowed_hosts),
        access=PageAccess("page", port, settings.page_token),
        url=url,
        frames=frames,
    )


def agent_place(settings: Settings, party: str, label: str, port: int) -> Place:
    """Return the place of a party's own page, which only the stage may frame."""
    host, url = settings.page_host, agent_url(settings, party)

    def framed_by(called: Authority) -> tuple[str, ...]:
        beside = _source(f"http://{Authority(called.name, settings.page_port)}")
        stage = _bare(settings.page_url)
        return (beside,) if stage is None else (beside, _source(stage))

    return Place(
        title=f"the {label.lower()}'s page",
        host=host,
        port=port,
        hosts=AllowedHosts(host, url, settings.allowed_hosts),
        access=PageAccess(party, port, settings.page_token),
        url=url,
        framed_by=framed_by,
    )


def compliance_place(settings: Settings, port: int) -> Place:
    """Return the place of the compliance page."""
    host, url = settings.page_host, _bare(settings.compliance_url)
    return Place(
        title="the compliance page",
        host=host,
        port=port,
        hosts=AllowedHosts(host, url, settings.allowed_hosts),
        access=PageAccess("compliance", port, settings.page_token),
        url=url,
    )


def compliance_link(settings: Settings, called: Authority | None = None) -> str | None:
    """Return the link that opens the compliance page, for a browser that requested `called`.

    None if its access token is not known here.
    """
    if settings.compliance_token is None:
        return None
    host = settings.page_host if called is None else called.name
    address = _bare(settings.compliance_url) or url_of(reachable(host), settings.compliance_port)
    return link(address, settings.compliance_token.get_secret_value())


def consent_place(settings: Settings, kind: str, title: str, port: int) -> Place:
    """Return the place of the page of an `owner` or `institution`, which has its own process."""
    host, url = settings.page_host, _consent_url(settings, kind)
    return Place(
        title=title,
        host=host,
        port=port,
        hosts=AllowedHosts(host, url, settings.allowed_hosts),
        access=PageAccess(kind, port, settings.page_token),
        url=url,
    )


def consent_links(settings: Settings, called: Authority | None = None) -> Mapping[str, str]:
    """Return the links that open the demonstration's owner's and institution's pages.

    They are by `owner` and `institution`, for a browser that requested `called`; empty if the
    access tokens are not known here.
    """
    host = settings.page_host if called is None else called.name
    ports = {"owner": settings.owner_port, "institution": settings.institution_port}
    return {
        kind: link(
            _consent_url(settings, kind) or url_of(reachable(host), ports[kind]),
            token.get_secret_value(),
        )
        for kind, token in settings.consent_tokens.items()
        if kind in ports
    }


def _consent_url(settings: Settings, kind: str) -> str | None:
    return _bare(settings.owner_url if kind == "owner" else settings.institution_url)


def agent_url(settings: Settings, party: str) -> str | None:
    """Return the address of a party's page behind a proxy, or None without a proxy.

    The party's name is written with hyphens, because a host name has no underscores (RFC 1123):
    browsers ignore one that has in a content security policy.
    """
    url = _bare(settings.agent_url)
    return None if url is None else url.replace(PARTY, party.replace("_", "-"))


def agent_addresses(
    settings: Settings, parties: Sequence[str], called: Authority | None = None
) -> Mapping[str, str]:
    """Return the addresses of the parties' pages for a browser that requested the host `called`.

    They use the same host name, so that the browser treats the frames as the stage's own site and
    sends their cookies.
    """
    host = settings.page_host if called is None else called.name
    return {
        party: agent_url(settings, party) or url_of(reachable(host), settings.agent_port + i)
        for i, party in enumerate(parties)
    }


def _bare(url: str | None) -> str | None:
    return None if url is None else url.rstrip("/")


def _source(address: str) -> str:
    """Return the origin of an address as a content security policy source."""
    parts = urlsplit(address)
    if "[" not in parts.netloc:
        return f"{parts.scheme}://{parts.netloc}"
    # A policy cannot name an IPv6 address. Another host at this port does not get the cookie.
    return f"{parts.scheme}://*:{parts.port or (443 if parts.scheme == 'https' else 80)}"
