"""How often one may ask, and how much may arrive at once.

Counted in this process's memory, by the digest of a token or by an address, and forgotten when the
minute is over; several servers on one database count each for itself. Every refusal says when to
ask again.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from service.credentials import digest
from settings import Settings
from utils.errors import TooManyRequests

OPENINGS = 600
"""Applications that one address may open in a minute."""
TOKEN_UPLOADS = 4
"""Uploads of one token at once."""
UPLOAD_SECONDS = 2.0
CROWD = 10_000
"""Counters kept for one name each; beyond them names that begin alike share one (256 groups), so
that nobody fills memory with invented tokens."""
_NETWORK_BITS = 64
"""Of an IPv6 address: what one customer is usually given."""


class Quotas:
    """Counts calls and uploads; its methods may be called in any thread."""

    def __init__(self, settings: Settings) -> None:
        self._storage = MemoryStorage()
        # Two counters for each name, and not a time for each call of the last minute.
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._calls = RateLimitItemPerMinute(settings.token_calls, namespace="calls")
        self._openings = RateLimitItemPerMinute(OPENINGS, namespace="openings")
        self._maximum_uploads = settings.maximum_uploads
        self._uploads: Counter[str] = Counter()
        self._lock = Lock()

    def called(self, token: str) -> None:
        """Count a call with this token, whether it is a good one or not; raises TooManyRequests."""
        self._count(self._calls, digest(token).hex(), "This token")

    def opening(self, address: str) -> None:
        """Count the opening of an application from this address; raises TooManyRequests."""
        self._count(self._openings, digest(_network(address)).hex(), "This address")

    @contextmanager
    def uploading(self, token: str) -> Iterator[None]:
        """Hold a place for an upload with this token; raises TooManyRequests where none is free."""
        name = digest(token).hex()
        with self._lock:
            if self._uploads[name] >= TOKEN_UPLOADS:
                raise TooManyRequests(
                    f"{TOKEN_UPLOADS} uploads with this token are under way; wait for one to end.",
                    UPLOAD_SECONDS,
                )
            if self._uploads.total() >= self._maximum_uploads:
                raise TooManyRequests(
                    f"{self._maximum_uploads} uploads are under way, as many as the server takes "
                    "at once (TRISEAL_MAXIMUM_UPLOADS); send the file again in a moment.",
                    UPLOAD_SECONDS,
                )
            self._uploads[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._uploads[name] -= 1
                self._uploads += Counter()  # drops what is 0

    def _count(self, quota: RateLimitItemPerMinute, name: str, who: str) -> None:
        if len(self._storage.storage) >= CROWD:
            name = name[:2]
        if self._limiter.hit(quota, name):
            return
        # When its window ends, a full counter still weighs whole: it takes one call's time more.
        again = self._limiter.get_window_stats(quota, name).reset_time - time.time()
        again += quota.get_expiry() / quota.amount
        raise TooManyRequests(
            f"{who} has asked {quota.amount} times within a minute, which is all it may; ask "
            "again a little later.",
            max(1.0, again),
        )


def _network(address: str) -> str:
    """Whom an address stands for; what is no address stands for itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _NETWORK_BITS), strict=False))
