"""The host names under which the server may be addressed, and its advice to those it refuses."""

from __future__ import annotations

from settings import Settings
from utils.hosts import AllowedHosts

UNKNOWN_HOST = (
    "This server does not accept requests for that host name: use the address from its operator, "
    "or ask the operator to add the name to TRISEAL_ALLOWED_HOSTS."
)
FOREIGN_ORIGIN = (
    "A page of another origin may not call this server. If the server has another address behind a "
    "proxy, the operator must set TRISEAL_SERVER_URL to it."
)


def hosts_of(settings: Settings) -> AllowedHosts:
    """Return the host names under which a server with these settings may be addressed."""
    return AllowedHosts(settings.server_host, settings.server_url, settings.allowed_hosts)
