"""Messages of sessions: in order, once, bounded, and removed when they have arrived."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from service.sessions import relay
from service.sessions.relay import KEPT_DIGESTS
from service.storage.storage import Storage
from service.storage.tables import SessionMessageRecord, table_of
from settings import Settings
from tests.service.sessions.pairs import Pair, hex_of
from utils.errors import (
    AlreadySent,
    NotAuthorised,
    OutOfStep,
    QuotaExceeded,
    TooManyApplications,
    UnknownName,
    UploadEmpty,
    UploadTooLarge,
)

MESSAGES = table_of(SessionMessageRecord)


@pytest.fixture
def pair(storage: Storage, settings: Settings) -> Pair:
    return Pair(storage, settings)


def stored(pair: Pair) -> list[bytes | None]:
    """Return the bodies that the database has, in order."""
    with pair.storage.read() as session:
        found = session.scalars(select(MESSAGES.c.body).order_by(MESSAGES.c.number)).all()
        return [None if body is None else bytes(body) for body in found]


def test_messages_arrive_in_order_and_are_removed(pair: Pair) -> None:
    for number, body in enumerate((b"a", b"b", b"c"), 1):
        assert pair.post("owner", number, body) == number
    assert pair.post("institution", 1, b"d") == 1, "each side counts by itself"
    assert pair.read("institution") == [1, 2, 3]
    assert pair.read("owner") == [1]
    assert pair.read("institution", after=2) == [3]
    assert pair.read("institution", after=2) == [3], "not before it is known to have arrived"
    assert [body for body in stored(pair) if body] in ([b"d", b"c"], [b"c", b"d"])
    assert pair.read("institution") == [3]


def test_message_is_repeated_but_never_replaced_or_skipped(pair: Pair) -> None:
    with pytest.raises(OutOfStep, match="number 1"):
        pair.post("owner", 2, b"a")
    for _ in range(2):
        assert pair.post("owner", 1, b"a") == 1
    with pytest.raises(AlreadySent):
        pair.post("owner", 1, b"b")
    pair.read("institution", after=1)
    assert pair.post("owner", 1, b"a") == 1, "the response may have been lost"
    with pytest.raises(AlreadySent):
        pair.post("owner", 1, b"b")
    assert pair.read("institution") == []
    for number in range(2, KEPT_DIGESTS + 3):
        pair.post("owner", number, b"a")
        pair.read("institution", after=number)
    with pytest.raises(AlreadySent):
        pair.post("owner", 1, b"a")
    assert len(stored(pair)) <= KEPT_DIGESTS + 1


def test_waiting_messages_are_bounded(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MOST_WAITING", 3)
    monkeypatch.setattr(relay, "MOST_WAITING_BYTES", 100)
    monkeypatch.setattr(relay, "MOST_AT_ONCE", 90)
    pair.post("owner", 1, bytes(60))
    with pytest.raises(QuotaExceeded, match="1 messages wait"):
        pair.post("owner", 2, bytes(41))
    pair.post("owner", 2, bytes(40))
    assert pair.read("institution") == [1], "a response is bounded, but has one message"
    assert pair.read("institution", after=1) == [2]
    for number in (3, 4):
        pair.post("owner", number, b"x")
    with pytest.raises(QuotaExceeded, match="3 messages wait"):
        pair.post("owner", 5, b"x")
    with pytest.raises(UploadEmpty):
        pair.post("owner", 5, b"")
    with pytest.raises(UploadTooLarge):
        pair.post("owner", 5, bytes(relay.LARGEST_SESSION_MESSAGE + 1))
    pair.read("institution", after=4)
    assert pair.post("owner", 5, bytes(99)) == 5


def test_owner_posts_before_anybody_connects_and_nobody_after_the_end(pair: Pair) -> None:
    waiting = pair.host()
    assert pair.relay.post(waiting.session_id, waiting.token, 1, b"hello") == 1
    connected = pair.sessions.connect(waiting.session_id, pair.caller, waiting.code)
    pair.sessions.close(waiting.session_id, waiting.token)
    pair.sessions.close(waiting.session_id, connected.token)
    with pytest.raises(OutOfStep, match="closed"):
        pair.relay.post(waiting.session_id, connected.token, 1, b"late")
    found = pair.relay.read(waiting.session_id, connected.token, 0)
    assert (found.state, [message.number for message in found.items]) == ("closed", [1])
    pair.clock.now += 25 * 3600
    with pytest.raises(OutOfStep, match="expired"):
        pair.post("owner", 1, b"late")


def test_a_code_works_once_and_tokens_are_of_one_session(pair: Pair) -> None:
    hosted = pair.host()
    for code in ("", pair.hosted.code, hosted.token, hosted.code[:-1]):
        with pytest.raises(NotAuthorised):
            pair.sessions.connect(hosted.session_id, pair.caller, code)
    pair.sessions.connect(hosted.session_id, pair.caller, hosted.code)
    for session_id, code in (
        (hosted.session_id, hosted.code),
        (pair.hosted.session_id, pair.hosted.code),
    ):
        with pytest.raises(NotAuthorised):
            pair.sessions.connect(session_id, pair.caller, code)
    for token in (None, "", hosted.code, pair.hosted.token, pair.connected.token):
        with pytest.raises(NotAuthorised):
            pair.sessions.facts(hosted.session_id, token)


def test_sessions_are_bounded_and_a_signed_call_counts_once(pair: Pair) -> None:
    pair.sessions._most = 2
    pair.sessions.host(hex_of(pair.owner), "one call", 1)
    with pytest.raises(TooManyApplications, match="TRISEAL_MAXIMUM_SESSIONS"):
        pair.host()
    pair.sessions.close(pair.hosted.session_id, pair.hosted.token)
    with pytest.raises(AlreadySent):
        pair.sessions.host(hex_of(pair.owner), "one call", 1)
    pair.host()


def test_erasing_an_owner_removes_its_sessions_and_no_others(pair: Pair) -> None:
    other = Pair(pair.storage, pair.settings, pair.clock)
    pair.post("owner", 1, b"secret")
    other.post("owner", 1, b"other")
    assert pair.sessions.erase(hex_of(pair.owner)) == [pair.hosted.session_id]
    assert stored(pair) == [b"other"]
    with pytest.raises(UnknownName):
        pair.read("owner")
    assert other.read("institution") == [1]
