"""Rate limits: counted per token and address, expired in time, and in bounded memory."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from settings import Settings
from utils.errors import TooManyRequests
from web import rate_limits
from web.rate_limits import OPENINGS, TOKEN_UPLOADS, TOKEN_WAITS, RateLimits


def made(**settings: int) -> RateLimits:
    return RateLimits(Settings(**settings))


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock, since the weight of the previous minute decreases with time."""
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)


@pytest.mark.usefixtures("still")
def test_calls_per_token_are_limited() -> None:
    quota = made(token_calls=5)
    for _ in range(5):
        quota.called("one")
    for _ in range(2):
        with pytest.raises(TooManyRequests, match="limit of 5 calls per minute") as refused:
            quota.called("one")
        assert 1 <= refused.value.retry_seconds <= 61
    quota.called("another")


def test_call_limit_resets_after_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    quota = made(token_calls=5)
    for _ in range(5):
        quota.called("one")
    with pytest.raises(TooManyRequests) as refused:
        quota.called("one")
    now += refused.value.retry_seconds
    quota.called("one")
    now += 121
    for _ in range(5):
        quota.called("one")


def test_tokens_are_not_stored() -> None:
    quota = made()
    token = secrets.token_urlsafe(32)
    quota.called(token)
    with quota.uploading(token):
        kept = repr(vars(quota._uploads)) + repr(vars(quota._storage))
    assert token not in kept
    assert quota._storage.storage


@pytest.mark.usefixtures("still")
def test_openings_are_limited_per_address() -> None:
    quota = made()
    for _ in range(OPENINGS):
        quota.opening("192.0.2.1")
    for address in ("192.0.2.1", "::ffff:192.0.2.1"):
        with pytest.raises(TooManyRequests, match="This address"):
            quota.opening(address)
    quota.opening("192.0.2.2")
    quota.opening("no address")


@pytest.mark.usefixtures("still")
def test_ipv6_network_counts_as_one_address() -> None:
    quota = made()
    for host in range(OPENINGS):
        quota.opening(f"2001:db8::{host:x}")
    with pytest.raises(TooManyRequests):
        quota.opening("2001:db8::abcd:1:2")
    quota.opening("2001:db8:0:1::1")


def test_concurrent_uploads_are_limited_per_token_and_in_total() -> None:
    quota = made(maximum_uploads=TOKEN_UPLOADS + 2)
    with ExitStack() as held:
        for _ in range(TOKEN_UPLOADS):
            held.enter_context(quota.uploading("one"))
        with pytest.raises(TooManyRequests, match="with this token"):
            held.enter_context(quota.uploading("one"))
        for _ in range(2):
            held.enter_context(quota.uploading("two"))
        with pytest.raises(TooManyRequests, match="the server's maximum"):
            held.enter_context(quota.uploading("three"))
    with quota.uploading("three"), quota.uploading("one"):
        pass
    assert not quota._uploads._held, "released places leave nothing"


def test_counting_starts_no_threads() -> None:
    """The library's own counters start a thread at almost every call."""
    quota = made()
    quota._storage.timer.join()
    before = threading.active_count()
    for _ in range(100):
        quota.called("one")
    assert threading.active_count() <= before


def test_upload_stops_counting_after_an_error() -> None:
    quota = made(maximum_uploads=1)

    def fail() -> None:
        with quota.uploading("one"):
            raise RuntimeError("the sender went away")

    for _ in range(3):
        with pytest.raises(RuntimeError):
            fail()
    assert not quota._uploads._held


def test_concurrent_calls_per_token_are_limited() -> None:
    quota = made()
    with ExitStack() as held:
        for _ in range(TOKEN_WAITS):
            held.enter_context(quota.calling("one"))
        with pytest.raises(TooManyRequests, match=f"{TOKEN_WAITS} calls with this token"):
            held.enter_context(quota.calling("one"))
        held.enter_context(quota.calling("another"))
    assert not quota._waits._held


def crowd(quota: RateLimits, names: int, call: Callable[[str], None]) -> int:
    for name in range(names):
        call(f"forged {name}")
    return len(quota._storage.storage)


@pytest.mark.usefixtures("still")
def test_invented_tokens_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "CROWD", 50)
    quota = made(token_calls=10_000)
    quota.called("good")
    assert crowd(quota, 3000, quota.called) <= 50 + 2 * 256
    quota.called("good")


def test_expired_counters_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000_000.0
    monkeypatch.setattr("time.time", lambda: now)
    quota = made()
    assert crowd(quota, 300, quota.called) == 300
    now += 300
    quota.called("one")
    assert len(quota._storage.storage) <= 1
    assert len(quota._storage.expirations) <= 1
