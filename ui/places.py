"""Where the pages are: their addresses, what opens them, and who may show whom in a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from settings import PARTY, Settings
from ui.access import PageAccess
from utils.addresses import reachable, url_of
from utils.hosts import AllowedHosts, Authority

Sources = Callable[[Authority], tuple[str, ...]]
"""Origins, given the host by which the browser asked."""


def nobody(_: Authority) -> tuple[str, ...]:
    """Return no origin."""
    return ()


@dataclass(frozen=True)
class Place:
    """Where one page listens, what it is called, and who may use and frame it.

    `url` is its address behind a proxy, if it has one. Pages of the origins `framed_by` may frame
    it, and it may frame those of `frames`.
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
        """Where browsers find it."""
        return self.url or url_of(reachable(self.host), self.port)


def said_address(place: Place) -> str:
    """The address as a terminal shows it: with the token, unless the settings gave it."""
    if place.access.given:
        return f"{place.address} (opened by the token of TRISEAL_PAGE_TOKEN)"
    return place.access.link(place.address)


def page_place(settings: Settings, parties: Sequence[str] = ()) -> Place:
    """The place of the one page, or of the stage of these parties."""
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
    """The place of a party's own page, which the stage alone may frame."""
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


def agent_url(settings: Settings, party: str) -> str | None:
    """The address of a party's own page behind a proxy, if there is one."""
    url = _bare(settings.agent_url)
    return None if url is None else url.replace(PARTY, party)


def agent_addresses(
    settings: Settings, parties: Sequence[str], called: Authority | None = None
) -> Mapping[str, str]:
    """Where a browser that asked the stage by the host `called` finds the parties' own pages.

    By the same name, so that the browser counts the frames as the stage's own site and sends
    their cookies.
    """
    host = settings.page_host if called is None else called.name
    return {
        party: agent_url(settings, party) or url_of(reachable(host), settings.agent_port + i)
        for i, party in enumerate(parties)
    }


def _bare(url: str | None) -> str | None:
    return None if url is None else url.rstrip("/")


def _source(address: str) -> str:
    """The origin of an address as a content security policy names it."""
    parts = urlsplit(address)
    if "[" not in parts.netloc:
        return f"{parts.scheme}://{parts.netloc}"
    # A policy cannot name an IPv6 address. Another host at this port comes without the cookie.
    return f"{parts.scheme}://*:{parts.port or 80}"
