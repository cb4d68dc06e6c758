"""Rate limits on calls, and limits on concurrent calls and uploads.

Calls are counted in this process's memory, by the digest of a token or by address, for one minute;
several servers on one database count independently. Every rejection tells when to try again.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from settings import Settings
from utils.errors import TooManyRequests
from utils.tokens import digest

OPENINGS = 600
"""Applications that one address may open per minute."""
HOSTINGS = 120
"""Sessions and trainings that one address may host per minute."""
JOINS = 300
"""Attempts of one address to join trainings per minute."""
EXCHANGES = 12_000
"""Calls of one member of a training per minute."""
ERASURES = 60
"""Erasures of owners that one address may ask for per minute."""
CONNECTS = 60
"""Attempts of one partner, and of one address, to connect to sessions per minute."""
TOKEN_UPLOADS = 4
"""Concurrent uploads with one token."""
TOKEN_WAITS = 32
"""Concurrent calls with one token; those that stream events or wait for a run take long."""
AGAIN_SECONDS = 2.0
CROWD = 10_000
"""Number of counters with a name each. Beyond it, names with the same first two digits share a
counter (256 groups), so that invented tokens cannot fill the memory."""
FORGET_SECONDS = 5.0
"""Interval between removals of expired counters."""
_NETWORK_BITS = 64
"""Prefix length of the IPv6 network that one customer usually gets."""


class RateLimits:
    """Counts calls and uploads; its methods may be called in any thread."""

    def __init__(self, settings: Settings) -> None:
        self._storage = _Counters()
        # It keeps two counters per name instead of the time of each call in the last minute.
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)
        self._calls = RateLimitItemPerMinute(settings.token_calls, namespace="calls")
        self._reads = RateLimitItemPerMinute(settings.token_calls, namespace="reads")
        self._openings = RateLimitItemPerMinute(OPENINGS, namespace="openings")
        self._hostings = RateLimitItemPerMinute(HOSTINGS, namespace="hostings")
        self._joins = RateLimitItemPerMinute(JOINS, namespace="joins")
        self._exchanges = RateLimitItemPerMinute(EXCHANGES, namespace="exchanges")
        self._erasures = RateLimitItemPerMinute(ERASURES, namespace="erasures")
        self._connects = RateLimitItemPerMinute(CONNECTS, namespace="connects")
        self._uploads = _Places(
            TOKEN_UPLOADS,
            f"{TOKEN_UPLOADS} uploads with this token are in progress; wait for one to end.",
            settings.maximum_uploads,
            f"{settings.maximum_uploads} uploads are in progress, the server's maximum "
            "(TRISEAL_MAXIMUM_UPLOADS); send the file again in a moment.",
        )
        self._waits = _Places(
            TOKEN_WAITS,
            f"{TOKEN_WAITS} calls with this token are in progress; wait for one to end.",
        )

    def called(self, token: str) -> None:
        """Count a call with this token, valid or not; raises TooManyRequests."""
        self._count(self._calls, digest(token).hex(), "This token")

    def reading(self, address: str) -> None:
        """Count a call about the log that needs no token; raises TooManyRequests."""
        self._count(self._reads, digest(_network(address)).hex(), "This address")

    def opening(self, address: str) -> None:
        """Count the opening of an application from this address; raises TooManyRequests."""
        self._count(self._openings, digest(_network(address)).hex(), "This address")

    def hosting(self, address: str) -> None:
        """Count the hosting of a session or a training; raises TooManyRequests."""
        self._count(self._hostings, digest(_network(address)).hex(), "This address")

    def joining(self, address: str) -> None:
        """Count an attempt to join a training, whatever its code; raises TooManyRequests."""
        self._count(self._joins, digest(_network(address)).hex(), "This address")

    def exchanging(self, token: str) -> None:
        """Count a call with the token of a member of a training; raises TooManyRequests."""
        self._count(self._exchanges, digest(token).hex(), "This token")

    def erasing(self, address: str) -> None:
        """Count the erasure of an owner that any key may ask for; raises TooManyRequests."""
        self._count(self._erasures, digest(_network(address)).hex(), "This address")

    def connecting(self, partner_id: str, address: str) -> None:
        """Count an attempt to connect to a session, whatever its code; raises TooManyRequests."""
        self._count(self._connects, digest(f"partner {partner_id}").hex(), "This partner")
        self._count(self._connects, digest(_network(address)).hex(), "This address")

    def calling(self, token: str) -> AbstractContextManager[None]:
        """Count a concurrent call with this token until its end; raises TooManyRequests."""
        return self._waits.hold(digest(token).hex())

    def uploading(self, token: str) -> AbstractContextManager[None]:
        """Count a concurrent upload with this token until its end; raises TooManyRequests."""
        return self._uploads.hold(digest(token).hex())

    def _count(self, quota: RateLimitItemPerMinute, name: str, who: str) -> None:
        if len(self._storage.storage) >= CROWD:
            name = name[:2]
        if self._limiter.hit(quota, name):
            return
        # At the end of its window a full counter still has its full weight, so one call's share of
        # the minute is added.
        again = self._limiter.get_window_stats(quota, name).reset_time - time.time()
        again += quota.get_expiry() / quota.amount
        raise TooManyRequests(
            f"{who} has reached its limit of {quota.amount} calls per minute; try again a little "
            "later.",
            max(1.0, again),
        )


class _Counters(MemoryStorage):
    """The library's counters, with expired ones removed while counting.

    The library would start a thread for that at almost every call, which scans all counters.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counting = Lock()
        self._tidied = time.time()

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Add to a counter that lasts `expiry` seconds; return its value."""
        with self._counting:
            now = time.time()
            if now - self._tidied > FORGET_SECONDS:
                self._tidied = now
                for old in [name for name, end in self.expirations.items() if end <= now]:
                    self.clear(old)
            elif self.expirations.get(key, now) <= now:
                self.clear(key)
            self.expirations.setdefault(key, now + expiry)
            self.storage[key] += amount
            return self.storage[key]


class _Places:
    """A limit on concurrent use: `most` for one name, and `all_most` for all names together."""

    def __init__(
        self, most: int, full: str, all_most: float = math.inf, all_full: str = ""
    ) -> None:
        self._most, self._full = most, full
        self._all_most, self._all_full = all_most, all_full
        self._held: Counter[str] = Counter()
        self._lock = Lock()

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        with self._lock:
            if self._held[name] >= self._most:
                raise TooManyRequests(self._full, AGAIN_SECONDS)
            if self._held.total() >= self._all_most:
                raise TooManyRequests(self._all_full, AGAIN_SECONDS)
            self._held[name] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[name] -= 1
                if not self._held[name]:
                    del self._held[name]


def _network(address: str) -> str:
    """Return the network of an IP address; any other text is returned unchanged."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _NETWORK_BITS), strict=False))
