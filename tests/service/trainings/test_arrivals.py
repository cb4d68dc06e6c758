"""News of messages: counted once, complete or read again, and bounded."""

from __future__ import annotations

import asyncio

from service.trainings.arrivals import MOST_EARLY, MOST_TOLD, MOST_TOLD_BYTES, News, Told, Waiting

ID = "5b1e0f6c2d7a48938e4f1c6a9b2d7e30"


def told(number: int, receiver: str | None = "me", size: int = 1) -> Told:
    return Told(number, receiver, size, {"id": number})


def news(*messages: Told, sender: str = "you") -> News:
    return News(ID, sender, messages)


def following(last: int = 0) -> Waiting:
    waiting = Waiting()
    waiting.follow("me", last)
    return waiting


def ids(waiting: Waiting) -> tuple[list[int], int] | None:
    whole = waiting.whole()
    return None if whole is None else ([message["id"] for message in whole[0]], whole[1])


def test_news_is_read_from_its_text() -> None:
    sent = news(told(7), told(8, None))
    assert News.read(sent.text()) == News(ID, "you", (Told(7, "me"), Told(8, None)))
    long = news(*(told(10**15 + i, "m" * 64) for i in range(64)))
    assert News.read(long.text()) == News(ID), "too long to be announced: anything may have changed"
    assert len(long.text()) < 4000


def test_a_message_counts_once_and_only_for_its_receivers() -> None:
    waiting = Waiting()
    waiting.tell(news(told(4)))
    waiting.tell(news(told(5)))
    waiting.follow("me", 4)
    for _ in range(2):
        waiting.tell(News.read(news(told(5)).text()))
        waiting.tell(news(told(5)))
        waiting.tell(news(told(6, "other"), told(7, None)))
        waiting.tell(news(told(8, None), sender="me"))
    assert waiting.count == 2
    assert ids(waiting) == ([5, 7], 8)
    waiting.follow("me", 7)
    assert (waiting.count, ids(waiting)) == (0, ([], 8))


def test_a_call_reads_again_if_the_news_has_a_gap_or_lacks_contents() -> None:
    waiting = following(1)
    waiting.tell(news(told(3)))
    assert ids(waiting) is None, "message 2 may be for this member, and is on its way"
    waiting.tell(News.read(news(told(2)).text()))
    assert (waiting.count, ids(waiting)) == (2, None)
    waiting.tell(news(told(2)))
    assert ids(waiting) == ([2, 3], 3), "the contents came after the announcement"
    waiting.tell(News(ID))
    assert waiting.changed and ids(waiting) is None


def test_a_waiting_call_keeps_little() -> None:
    flooded = Waiting()
    for number in range(MOST_EARLY + 1):
        flooded.tell(news(told(number + 1)))
    assert flooded.changed, "it has not read yet, and will have to"
    large = following()
    large.tell(news(told(1, size=MOST_TOLD_BYTES), told(2)))
    assert (large.count, ids(large)) == (2, None)
    many = following()
    for number in range(MOST_TOLD + 1):
        many.tell(news(told(number + 1, "other")))
    assert many.changed and many.woken.is_set()
    assert asyncio.run(many.woken.wait()) is True
