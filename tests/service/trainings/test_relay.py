"""Messages of trainings: in order, once, bounded for each receiver, and removed on arrival."""

from __future__ import annotations

import base64
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.trainings import (
    COORDINATOR,
    LARGEST_POST,
    LARGEST_READ,
    LARGEST_TRAINING_MESSAGE,
    MOST_POSTED,
    MOST_READ,
)
from service.storage.storage import Storage
from service.trainings.limits import MOST_WAITING, Limit
from service.trainings.recent import Given
from service.trainings.trainings import KEPT_SECONDS, remove_old_trainings
from settings import Settings
from tests.service.trainings.groups import LENDERS, Group, shown
from utils.errors import (
    AlreadySent,
    ForbiddenScope,
    InvalidRequest,
    NotAuthorised,
    OutOfStep,
    TooManyApplications,
    UnknownName,
    UploadEmpty,
    UploadTooLarge,
)

ALL = (COORDINATOR, *LENDERS)


@pytest.fixture
def group(storage: Storage, settings: Settings) -> Group:
    return Group(storage, settings)


def test_messages_reach_their_receivers_and_are_removed_when_all_have_confirmed(
    storage: Storage, settings: Settings
) -> None:
    group = Group(storage, settings, away=["c"])
    group.exchange("a", (1, COORDINATOR, b"to one"))
    group.exchange(COORDINATOR, (4, None, b"to all"), (9, "b", b"to b"))
    found = group.exchange("b", (1, None, b"of b"))
    assert shown(found) == [(COORDINATOR, 4), (COORDINATOR, 9)]
    assert [base64.b64decode(m["body"]) for m in found.messages] == [b"to all", b"to b"]
    assert [m["to"] for m in found.messages] == [None, "b"]
    assert group.read("b") == shown(found), "not before it is known to have arrived"
    assert group.read("b", after=found.after) == []
    assert group.stored() == [("a", COORDINATOR, 1), (COORDINATOR, None, 4), ("b", None, 1)]
    at = group.exchange(COORDINATOR).after
    for name in (COORDINATOR, "a"):
        assert group.read(name, after=at) == []
    assert group.stored() == [(COORDINATOR, None, 4), ("b", None, 1)], "c has not joined yet"
    group.join("c")
    assert group.read("c") == [(COORDINATOR, 4), ("b", 1)]
    group.exchange("c", after=at)
    assert group.stored() == []


def test_a_message_is_repeated_but_never_replaced_and_numbers_rise(group: Group) -> None:
    first = group.exchange("a", (3, None, b"x"), (5, "b", b"y"))
    for _ in range(2):
        again = group.exchange("a", (3, None, b"x"), (5, "b", b"y"), (8, "b", b"z"))
        assert again.numbers == [3, 5, 8]
    assert first.numbers == [3, 5]
    for other in ((3, None, b"X"), (3, "b", b"x"), (5, None, b"y"), (5, "c", b"y")):
        with pytest.raises(AlreadySent):
            group.exchange("a", (9, "b", b"new"), other)
    for lower in (1, 4, 7):
        with pytest.raises(OutOfStep, match="number 8"):
            group.exchange("a", (lower, "b", b"y"))
    with pytest.raises(AlreadySent):
        group.exchange("a", (9, "b", b"one"), (9, "b", b"two"))
    assert [number for *_, number in group.stored()] == [3, 5, 8], "all or none"
    group.exchange("b", after=again.after)
    assert group.exchange("a", (8, "b", b"z")).numbers == [8], "known after it was removed"
    group.exchange("a", *[(10 + i, "b", b"x") for i in range(MOST_POSTED)])
    assert group.exchange("a", *[(10 + i, "b", b"x") for i in range(MOST_POSTED)]).news is None
    with pytest.raises(OutOfStep):
        group.exchange("a", (8, "b", b"z"))


def test_an_absent_member_loses_its_oldest_messages_and_stops_nobody(group: Group) -> None:
    after = dict.fromkeys(ALL, 0)
    received: dict[str, list[int]] = {name: [] for name in ALL}
    number = 0
    for _ in range(12):
        group.exchange("a", *[(number + i, None, b"x") for i in range(1, MOST_POSTED + 1)])
        number += MOST_POSTED
        for name in (COORDINATOR, "b"):
            found = group.exchange(name, after=after[name])
            received[name] += [m["number"] for m in found.messages]
            after[name] = found.after
        assert len(group.stored()) <= MOST_WAITING + MOST_POSTED
    assert received["b"] == received[COORDINATOR] == list(range(1, number + 1))
    got: list[int] = []
    at, more, first = 0, True, True
    while more:
        found = group.exchange("c", after=at)
        assert found.dropped is first, "told until the caller is behind what was dropped"
        assert group.exchange("c", after=at).dropped is first, "the response may have been lost"
        got += [m["number"] for m in found.messages]
        at, more, first = found.after, found.more, False
    assert got == list(range(number - len(got) + 1, number + 1)), "the newest, without a gap"
    assert MOST_WAITING // 2 < len(got) <= MOST_WAITING


def test_random_schedules_lose_nothing_but_what_is_told(
    storage: Storage, settings: Settings
) -> None:
    limit = Limit(messages=12, bytes=400)
    for seed in range(2):
        chance = random.Random(seed)
        group = Group(storage, settings, limit=limit)
        sent: list[tuple[str, str | None, int]] = []
        numbers, after = dict.fromkeys(ALL, 0), dict.fromkeys(ALL, 0)
        expected: dict[str, list[tuple[str, int]]] = {name: [] for name in ALL}
        got: dict[str, list[tuple[str, int]]] = {name: [] for name in ALL}
        for _ in range(120):
            me = chance.choices(ALL, weights=(5, 3, 3, 1))[0]
            given = []
            for _ in range(chance.randrange(4)):
                numbers[me] += chance.randrange(1, 4)
                to = chance.choice([None, *(name for name in ALL if name != me)])
                given.append((numbers[me], to, bytes(chance.randrange(1, 60))))
                for name in ALL if to is None else (to,):
                    if name != me:
                        expected[name].append((me, numbers[me]))
            found = group.exchange(me, *given, after=after[me])
            if found.dropped:
                fresh = shown(found)
                lost = len(expected[me]) - len(got[me]) - len(fresh)
                assert lost > 0
                got[me] += expected[me][len(got[me]) : len(got[me]) + lost]
            got[me] += shown(found)
            after[me] = found.after
            assert got[me] == expected[me], (seed, me)
            stored = group.stored()
            for name in ALL:
                waiting = sum(
                    (to in (None, name)) and sender != name and (sender, number) not in got[name]
                    for sender, to, number in stored
                )
                assert waiting <= limit.messages
            sent += [(me, to, number) for number, to, _ in given]
        assert len(sent) > 100
        for name in ALL:
            found = group.exchange(name, after=after[name])
            group.exchange(name, after=found.after)
        assert group.stored() == [], "nothing is left that nobody waits for"


def test_readers_skip_nothing_while_all_post_at_once(group: Group) -> None:
    count, stop = 25, threading.Event()

    def post(name: str) -> None:
        relay = group.server()
        for number in range(1, count + 1):
            relay.exchange(group.id, group.tokens[name], [Given(number, None, b"x")], 0)

    def read() -> list[tuple[str, int]]:
        relay, after, got = group.server(), 0, []
        while len(got) < count * len(LENDERS) and not stop.is_set():
            found = relay.exchange(group.id, group.tokens[COORDINATOR], [], after)
            got += shown(found)
            after = found.after
        return got

    with ThreadPoolExecutor(len(LENDERS) + 1) as pool:
        reading = pool.submit(read)
        try:
            for posted in [pool.submit(post, name) for name in LENDERS]:
                posted.result(60)
            got = reading.result(60)
        finally:
            stop.set()
    for name in LENDERS:
        assert [n for sender, n in got if sender == name] == list(range(1, count + 1))


def test_one_response_is_bounded_and_tells_that_there_is_more(group: Group) -> None:
    large = bytes(LARGEST_TRAINING_MESSAGE)
    most = LARGEST_READ // LARGEST_TRAINING_MESSAGE
    group.exchange("a", *[(i, "b", large) for i in range(1, most + 1)])
    group.exchange("a", (most + 1, "b", large))
    found = group.exchange("b")
    assert (len(found.messages), found.more) == (most, True)
    found = group.exchange("b", after=found.after)
    assert (shown(found), found.more) == ([("a", most + 1)], False)
    group.exchange("b", after=found.after)
    for start in (100, 200, 300):
        group.exchange("a", *[(start + i, "b", b"x") for i in range(MOST_POSTED)])
    found = group.exchange("b", after=found.after)
    assert (len(found.messages), found.more) == (MOST_READ, True)
    assert len(group.exchange("b", after=found.after).messages) == 3 * MOST_POSTED - MOST_READ


def test_posts_outside_the_bounds_store_nothing(group: Group) -> None:
    whole = LARGEST_POST // LARGEST_TRAINING_MESSAGE
    large = bytes(LARGEST_TRAINING_MESSAGE)
    for error, given in (
        (UploadEmpty, [(2, "b", b"")]),
        (UploadTooLarge, [(2, "b", large + b"x")]),
        (UploadTooLarge, [*[(2 + i, "b", large) for i in range(whole)], (99, "b", b"x")]),
        (InvalidRequest, [(2, "a", b"x")]),
        (UnknownName, [(2, "d", b"x")]),
    ):
        with pytest.raises(error):
            group.exchange("a", (1, "b", b"fine"), *given)
    with pytest.raises(InvalidRequest, match="id 0"):
        group.exchange("a", (1, "b", b"fine"), after=1)
    with pytest.raises(InvalidRequest):
        group.exchange("a", after=1)
    assert group.stored() == []


def test_codes_work_until_a_post_and_tokens_are_of_one_member_of_one_training(group: Group) -> None:
    other = Group(group.storage, group.settings, away=LENDERS)
    codes = other.hosted.codes
    for name, code in (
        ("a", ""),
        ("a", codes["b"]),
        ("a", group.hosted.codes["a"]),
        ("a", other.hosted.token),
        (COORDINATOR, codes["a"]),
        ("d", codes["a"]),
    ):
        with pytest.raises(NotAuthorised):
            other.trainings.join(other.id, name, code)
    other.join("a")
    lost = other.tokens["a"]
    other.join("a")  # as after a kill before the token was stored
    with pytest.raises(NotAuthorised):
        other.trainings.facts(other.id, lost)
    for token in (None, "", codes["b"], *group.tokens.values()):
        with pytest.raises(NotAuthorised):
            other.relay.exchange(other.id, token, [], 0)
        with pytest.raises(NotAuthorised):
            other.trainings.facts(other.id, token)
    members = other.trainings.facts(other.id, other.tokens["a"]).members
    assert [(m.name, m.joined, m.seen_at is not None) for m in members] == [
        (COORDINATOR, True, False),
        ("a", True, True),
        ("b", False, False),
        ("c", False, False),
    ]
    before = members[1].seen_at
    group.clock.now += 3600
    other.clock.now += 60
    other.exchange("a", (1, None, b"hello"))
    assert other.trainings.facts(other.id, other.tokens["a"]).members[1].seen_at != before
    with pytest.raises(NotAuthorised, match="used already"):
        other.join("a")


def test_trainings_are_bounded_closed_by_the_coordinator_expire_and_are_removed(
    group: Group,
) -> None:
    group.trainings._most = 2
    brief = group.host("one call", hours=0.5)
    with pytest.raises(TooManyApplications, match="TRISEAL_MAXIMUM_TRAININGS"):
        group.host()
    group.exchange("a", (1, None, b"before"))
    with pytest.raises(ForbiddenScope):
        group.trainings.close(group.id, group.tokens["a"])
    for _ in range(2):
        group.trainings.close(group.id, group.tokens[COORDINATOR])
    with pytest.raises(AlreadySent):
        group.host("one call")
    with pytest.raises(OutOfStep, match="closed"):
        group.exchange("a", (2, None, b"late"))
    found = group.exchange("b")
    assert (found.state, shown(found)) == ("closed", [("a", 1)])
    group.clock.now += 1800
    with pytest.raises(OutOfStep, match="expired"):
        group.trainings.join(brief.training_id, "a", brief.codes["a"])
    assert group.trainings.facts(brief.training_id, brief.token).state == "expired"
    assert remove_old_trainings(group.storage, group.clock.now) == 0
    group.clock.now += KEPT_SECONDS - 1800
    assert remove_old_trainings(group.storage, group.clock.now) == 1
    with pytest.raises(UnknownName):
        group.exchange("b")
    assert group.stored() == [], "messages go with their training"
    assert group.trainings.facts(brief.training_id, brief.token).state == "expired"
