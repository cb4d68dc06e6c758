"""Messages relayed between parties: who may send and read them, and their limits."""

from __future__ import annotations

import base64
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from contract.http import MAXIMUM_BODY, MAXIMUM_POSTED, MAXIMUM_RESULT
from service.applications import activity_log as notes
from service.applications.relay import MAXIMUM_MESSAGES, PAGE, Given, Relay
from service.storage.message_keys import RelayKeys
from service.storage.storage import Storage
from service.storage.tables import TrafficRecord
from tests.service import driver
from tests.service.driver import Application, Server, bearer, code_of, refused
from tests.service.played import PUBLIC, Played
from tests.service.storages import settings_of
from trials.postgres import dumped
from utils.errors import (
    AlreadySent,
    EvaluationFailed,
    NotAuthorised,
    OutOfStep,
    StoredDataDamaged,
)


def say(
    application: Application,
    party: str,
    step: str = "hello",
    receiver: str | None = None,
    body: bytes = b"sealed",
    **change: Any,
) -> httpx.Response:
    headers = change.pop("headers", None) or application.auth(party)
    document = {"step": step, "receiver": receiver, "body": base64.b64encode(body).decode()}
    return application.server.http.post(
        f"/applications/{application.client_id}/messages",
        json=document | change,
        headers=headers,
    )


def hear(application: Application, party: str, **query: Any) -> httpx.Response:
    return application.server.http.get(
        f"/applications/{application.client_id}/messages",
        params=query,
        headers=application.auth(party),
    )


def heard(application: Application, party: str, **query: Any) -> list[dict[str, Any]]:
    answer = hear(application, party, **query)
    assert answer.status_code == 200, answer.text
    messages: list[dict[str, Any]] = answer.json()["messages"]
    return messages


def message(step: str, body: bytes = b"sealed", receiver: str | None = None) -> dict[str, Any]:
    return {"step": step, "receiver": receiver, "body": base64.b64encode(body).decode()}


def exchange(
    application: Application, party: str, *messages: dict[str, Any], **request: Any
) -> httpx.Response:
    return application.server.http.post(
        f"/applications/{application.client_id}/exchange",
        json={"messages": list(messages)} | request,
        headers=application.auth(party),
    )


def awaited(*parties: str, step: str = "hello") -> list[dict[str, str]]:
    return [{"sender": party, "step": step} for party in parties]


def traffic(application: Application, token: str) -> list[dict[str, Any]]:
    path = f"/applications/{application.client_id}/traffic"
    answer = application.server.http.get(path, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def watched(server: Server) -> tuple[Application, str]:
    body = server.http.post("/applications").json()
    application = Application(server, body["client_id"], body["join_codes"])
    for party in application.parties:
        assert application.join(party).status_code == 200
    return application, body["watch_token"]


def test_messages_reach_all_or_only_sender_and_receiver(server: Server) -> None:
    application = server.joined()
    a, b, c = application.parties
    assert say(application, a, "hello").json() == {"number": 1}
    assert say(application, a, "part:one", b, b"for b").json() == {"number": 2}
    assert say(application, b, "hello", body=os.urandom(300)).json() == {"number": 3}
    numbers = {p: [m["number"] for m in heard(application, p)] for p in application.parties}
    assert numbers == {a: [1, 2, 3], b: [1, 2, 3], c: [1, 3]}
    second = heard(application, b, after=1)[0]
    assert base64.b64decode(second["body"]) == b"for b"
    assert (second["sender"], second["receiver"], second["step"]) == (a, b, "part:one")
    assert second["bytes"] == 5 and second["sent_at"]
    assert heard(application, c, after=3) == []


def test_repeated_message_keeps_its_number_and_different_one_is_refused(server: Server) -> None:
    application = server.joined()
    a, b, c = application.parties
    first = say(application, a, "part", b, b"one").json()
    assert say(application, a, "part", b, b"one").json() == first
    refused(say(application, a, "part", b, b"two"), 409, "already-sent")
    assert say(application, a, "part", c, b"two").status_code == 200
    assert say(application, a, "part", None, b"two").status_code == 200
    assert say(application, b, "part", c, b"two").status_code == 200
    assert len(heard(application, c)) == 3


def test_token_posts_messages_for_its_party_only(server: Server) -> None:
    application, watch = watched(server)
    other = server.joined()
    a, b, _ = application.parties
    path = f"/applications/{application.client_id}"
    http = server.http
    for headers in ({"x": "y"}, bearer("wrong"), other.auth(a), bearer(watch)):
        refused(say(application, a, headers=headers), 401, "not-authorised")
        refused(http.get(f"{path}/messages", headers=headers), 401, "not-authorised")
    refused(say(application, a, sender=b), 422, "invalid-request")
    assert say(application, a).status_code == 200
    assert [m["sender"] for m in heard(application, b)] == [a]


def test_watch_token_gives_only_state_and_traffic(server: Server) -> None:
    application, watch = watched(server)
    a, b, _ = application.parties
    assert application.send(a).status_code == 200
    say(application, a, "hello", body=b"x" * 99)
    say(application, a, "part", b, b"y" * 5)
    path = f"/applications/{application.client_id}"
    http, headers = server.http, bearer(watch)
    assert http.get(path, headers=headers).json()["joined"] == application.parties
    with http.stream("GET", f"{path}/events", headers=headers) as events:
        assert "event: state" in next(events.iter_lines())
    items = traffic(application, watch)
    assert items == traffic(application, application.tokens[b])
    keys = {"number", "at", "sender", "receiver", "what", "bytes"}
    assert all(set(item) == keys for item in items)
    shown = [(i["number"], i["sender"], i["receiver"], i["what"]) for i in items]
    assert shown == [
        (1, a, "server", "encrypted_inputs"),
        (2, a, None, "hello"),
        (3, a, b, "part"),
    ]
    assert [item["bytes"] for item in items][1:] == [99, 5]
    form = {"client_id": application.client_id}
    for answer in (
        http.get(f"{path}/messages", headers=headers),
        http.post("/run_fhe", data=form, headers=headers),
        http.post("/get_output", data=form, headers=headers),
        application.send(a, headers=headers),
        http.delete(path, headers=headers),
    ):
        refused(answer, 401, "not-authorised")
    other, _ = watched(server)
    refused(
        http.get(f"/applications/{other.client_id}/traffic", headers=headers),
        401,
        "not-authorised",
    )


def test_traffic_lists_runs_and_the_first_fetch(server: Server) -> None:
    application, watch = watched(server)
    a, b, c = application.parties
    application.fill()
    application.run()
    application.run()
    for _ in range(3):
        application.output(headers=application.auth(b))
    items = traffic(application, watch)[4:]
    size = len(application.output(headers=application.auth(c)).content)
    assert [(i["sender"], i["receiver"], i["what"], i["bytes"]) for i in items] == [
        (a, "server", "run decide", 0),
        ("server", None, "ran decide", size),
        ("server", b, "result of decide", size),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"step": ""},
        {"step": "Hello"},
        {"step": "a" * 33},
        {"step": "agree:decide:now"},
        {"step": "agree:" + "x" * 17},
        {"step": "a\n"},
        {"step": "../x"},
        {"step": None},
        {"receiver": 7},
        {"receiver": "x" * 300},
        {"body": "not base64!"},
        {"body": "AA"},
        {"body": 7},
        {"body": "A" * 200_000},
        {"more": 1},
    ],
)
def test_invalid_messages_are_refused(server: Server, change: dict[str, Any]) -> None:
    application = server.joined()
    a, b, _ = application.parties
    answer = application.server.http.post(
        f"/applications/{application.client_id}/messages",
        json={"step": "hello", "receiver": b, "body": "Ym9keQ=="} | change,
        headers=application.auth(a),
    )
    assert answer.status_code in (413, 422), answer.text
    assert code_of(answer) in ("invalid-request", "upload-too-large")
    assert heard(application, b) == []


def test_receiver_must_be_another_party(server: Server) -> None:
    application = server.joined()
    a, *_ = application.parties
    refused(say(application, a, receiver="landlord"), 422, "unknown-party")
    refused(say(application, a, receiver=a), 422, "invalid-request")
    refused(say(application, a, body=b""), 422, "upload-empty")


def test_message_sizes_are_limited(server: Server) -> None:
    application = server.joined()
    a, b, _ = application.parties
    assert say(application, a, "large", body=bytes(MAXIMUM_BODY)).status_code == 200
    refused(say(application, a, "larger", body=bytes(MAXIMUM_BODY + 1)), 413, "upload-too-large")
    for query in ({"after": -1}, {"after": "x"}, {"wait": 26}, {"wait": -1}, {"after": 2**70}):
        refused(hear(application, b, **query), 422, "invalid-request")


def test_messages_per_party_are_limited(server: Server) -> None:
    application = server.joined()
    a, b, _ = application.parties
    steps = [f"{x}{y}" for x in "abcdefgh" for y in "abcdefgh"]
    assert len(steps) == MAXIMUM_MESSAGES
    for step in steps:
        assert say(application, a, step).status_code == 200
    refused(say(application, a, "more"), 409, "out-of-step")
    assert say(application, a, steps[0]).status_code == 200, "a repeat takes no room"
    assert say(application, b).status_code == 200, "others have their own"
    first = heard(application, b)
    assert len(first) == PAGE
    rest = heard(application, b, after=first[-1]["number"])
    assert [m["step"] for m in first + rest] == steps

    application = server.joined()
    large = bytes(MAXIMUM_BODY)
    answers = [say(application, a, step, body=large).status_code for step in steps[:20]]
    assert answers == [200] * 16 + [409] * 4


def test_waiting_call_returns_on_a_new_message(server: Server) -> None:
    application = server.joined()
    a, b, _ = application.parties
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hear, application, b, wait=20)
        time.sleep(0.3)
        assert not waiting.done()
        start = time.monotonic()
        say(application, a)
        assert [m["sender"] for m in waiting.result(10).json()["messages"]] == [a]
        assert time.monotonic() - start < 5


def test_waiting_call_returns_on_an_unseen_state_change(server: Server) -> None:
    application = server.joined()
    a, b, _ = application.parties
    before = hear(application, b).json()
    assert hear(application, b, seen=before["tag"], wait=0.2).json() == before
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hear, application, b, wait=20, seen=before["tag"])
        time.sleep(0.2)
        application.send(a)
        after = waiting.result(10).json()
    assert after["tag"] != before["tag"] and after["messages"] == []
    sent = [s["party"] for s in after["state"]["slots"] if s["received_bytes"]]
    assert sent == [a]
    start = time.monotonic()
    assert hear(application, b, seen=before["tag"], wait=20).json() == after, "at once"
    assert time.monotonic() - start < 5


def test_waiting_ends_at_its_time_limit_and_at_erasure(server: Server) -> None:
    application = server.joined()
    a, b, _ = application.parties
    start = time.monotonic()
    assert heard(application, b, wait=0.4) == []
    assert 0.3 < time.monotonic() - start < 5
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hear, application, b, wait=20)
        time.sleep(0.2)
        application.erase()
        refused(waiting.result(10), 404, "unknown-application")
    refused(
        say(application, a, headers=bearer("any")),
        404,
        "unknown-application",
    )


def test_erase_removes_all_messages(server: Server) -> None:
    application, _ = watched(server)
    secret = os.urandom(400)
    say(application, application.parties[0], body=secret)
    assert application.client_id.encode() in kept_by(server)
    assert secret[:64] not in kept_by(server), "it lies there sealed"
    application.erase()
    assert application.client_id.encode() not in kept_by(server)


def kept_by(server: Server) -> bytes:
    """Return the content of the server's folder, and of its database if that is elsewhere."""
    files = b"".join(path.read_bytes() for path in server.data.rglob("*") if path.is_file())
    return files if driver.database_of is None else files + dumped(driver.database_of(server.data))


def test_message_bodies_are_not_logged(server: Server) -> None:
    application, watch = watched(server)
    body = base64.b64encode(os.urandom(30))
    say(application, application.parties[0], body=body)
    assert watch not in server.log() and body.decode() not in server.log()
    assert base64.b64encode(body).decode() not in server.log()


def test_readers_are_set_at_opening(server: Server) -> None:
    names = list(server.open().codes)
    http = server.http
    for body in ({}, {"readers": None}):
        assert http.post("/applications", json=body).json()["readers"] == names
    some = http.post("/applications", json={"readers": [names[2], names[0]]}).json()
    assert some["readers"] == [names[0], names[2]]
    state = http.get(f"/applications/{some['client_id']}", headers=bearer(some["watch_token"]))
    assert state.json()["readers"] == [names[0], names[2]]
    for readers, code in (
        (["landlord"], "unknown-party"),
        ([], "invalid-request"),
        ("bank", "invalid-request"),
        ([names[0]] * 100, "invalid-request"),
    ):
        refused(http.post("/applications", json={"readers": readers}), 422, code)
    refused(http.post("/applications", json={"reader": names}), 422, "invalid-request")


def test_waiting_calls_do_not_delay_shutdown_and_messages_survive(
    start: Callable[..., Server],
) -> None:
    """That a server which was killed continues is tested in test_life.py."""
    server = start().wait()
    application = server.joined()
    a, b, _ = application.parties
    say(application, a, body=b"kept")
    url = f"{str(server.http.base_url).rstrip('/')}/applications/{application.client_id}/messages"
    headers = application.auth()

    def wait() -> None:
        try:
            httpx.get(url, params={"after": 1, "wait": 25}, headers=headers, timeout=30)
        except httpx.TransportError:
            return

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    assert thread.is_alive(), "the call waits"
    begin = time.monotonic()
    server.send(signal.SIGINT)
    server.join(15)
    assert time.monotonic() - begin < 8
    thread.join(10)
    application.server = start().wait()
    assert [m["number"] for m in heard(application, b)] == [1]
    assert say(application, b).json() == {"number": 2}


def test_traffic_log_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 100
    assert most < notes.MAXIMUM_NOTES
    monkeypatch.setattr(notes, "MAXIMUM_NOTES", most)
    runs = most // 2 + 10
    settings = settings_of(tmp_path / "data", application_runs=runs)
    storage = Storage(settings)
    played = Played(storage, settings)
    opened = played.ready()
    token = played.tokens[opened.client_id]
    for _ in range(runs):
        played.ask(opened.client_id)
        played.claims.fail(played.claims.claim(), EvaluationFailed("failed"))
    relay = Relay(storage, PUBLIC, played.clock)
    items = relay.traffic(opened.client_id, token).items
    assert len(items) == most
    number = relay.post(opened.client_id, token, "hello", None, b"x")
    assert number == most + 1, "what parties say is never dropped"
    assert relay.messages(opened.client_id, token, 0).messages[0].number == number
    storage.close()


def test_only_one_of_concurrent_posts_succeeds(played: Played) -> None:
    opened = played.ready()
    token = played.tokens[opened.client_id]
    relay = Relay(played.storage, PUBLIC, played.clock)
    before = played.blobs()
    barrier = threading.Barrier(8)

    def post(i: int) -> int | None:
        barrier.wait()
        try:
            return relay.post(opened.client_id, token, "hello", None, bytes([i]))
        except AlreadySent:
            return None

    with ThreadPoolExecutor(8) as pool:
        numbers = [n for n in pool.map(post, range(8)) if n is not None]
    assert len(numbers) == 1
    assert len(relay.messages(opened.client_id, token, 0).messages[0].body) == 1
    assert len(played.blobs()) == len(before) + 1, "of the keys that they made one is left"
    with pytest.raises(OutOfStep), played.storage.read() as session:
        relay._next_number(session, opened.client_id, PUBLIC.schema_.party_names[0], 2**20)


def test_the_key_is_made_with_the_first_message(played: Played) -> None:
    opened = played.open()
    token = played.tokens[opened.client_id]
    relay = Relay(played.storage, PUBLIC, played.clock)
    with pytest.raises(NotAuthorised):
        relay.post(opened.client_id, "nobody's", "hello", None, b"hello")
    assert relay.messages(opened.client_id, token, 0).messages == ()
    assert played.blobs() == set(), "whoever has no token makes the server write nothing"
    for step in ("hello", "share"):
        relay.post(opened.client_id, token, step, None, step.encode())
    assert len(played.blobs()) == 1
    played.storage.relay_keys = RelayKeys(played.storage.blobs)  # as after a restart
    found = relay.messages(opened.client_id, token, 0).messages
    assert [one.body for one in found] == [b"hello", b"share"]


def before_the_key(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Make something happen once, just before a key is created."""
    make = RelayKeys.make

    def made_late(keys: RelayKeys, store: str) -> str:
        monkeypatch.setattr(RelayKeys, "make", make)
        happens()
        return make(keys, store)

    monkeypatch.setattr(RelayKeys, "make", made_late)


def test_concurrently_made_keys_keep_the_first_one(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = played.open()
    token = played.tokens[opened.client_id]
    relay = Relay(played.storage, PUBLIC, played.clock)
    before_the_key(
        monkeypatch,
        lambda: relay.post(opened.client_id, token, "share", None, b"said meanwhile"),
    )
    assert relay.post(opened.client_id, token, "hello", None, b"said first") == 2
    assert len(played.blobs()) == 1
    found = relay.messages(opened.client_id, token, 0).messages
    assert [one.body for one in found] == [b"said meanwhile", b"said first"]


def test_a_key_whose_message_is_refused_is_removed(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = played.open()
    token = played.tokens[opened.client_id]
    relay = Relay(played.storage, PUBLIC, played.clock)
    before_the_key(monkeypatch, lambda: played.party_tokens.revoke(opened.client_id, token))
    with pytest.raises(NotAuthorised):
        relay.post(opened.client_id, token, "hello", None, b"hello")
    assert played.blobs() == set()


def test_bodies_are_encrypted_in_the_database(played: Played) -> None:
    opened = played.ready()
    token = played.tokens[opened.client_id]
    relay = Relay(played.storage, PUBLIC, played.clock)
    body = b"between the parties only " * 4
    relay.post(opened.client_id, token, "hello", None, body)
    with played.storage.write() as session:
        row = session.scalar(select(TrafficRecord).where(TrafficRecord.body.is_not(None)))
        assert len(row.body) > len(body)
        assert body[:25] not in row.body
        row.what = "moved"  # moved to another place, where it cannot be decrypted
    with pytest.raises(StoredDataDamaged):
        relay.messages(opened.client_id, token, 0)


def test_excessive_message_number_is_refused(server: Server) -> None:
    application, _ = watched(server)
    path = f"/applications/{application.client_id}/messages"
    headers = application.auth(application.parties[0])
    for after, status in ((2**31 - 1, 200), (2**31, 422)):
        assert server.http.get(path, params={"after": after}, headers=headers).status_code == status


def test_an_exchange_posts_several_messages_and_returns_the_others(server: Server) -> None:
    application = server.joined()
    a, b, c = application.parties
    say(application, b)
    say(application, b, "part", c)
    found = exchange(application, a, message("hello"), message("part", b"for b", b)).json()
    assert found["numbers"] == [3, 4]
    assert [(m["number"], m["sender"], m["step"]) for m in found["messages"]] == [(1, b, "hello")]
    assert found["after"] == 4
    shown = hear(application, a).json()
    assert (found["state"], found["tag"]) == (shown["state"], shown["tag"])
    assert [m["number"] for m in shown["messages"]] == [1, 3, 4]
    assert exchange(application, a, after=4).json()["messages"] == []
    own = exchange(application, a, after=1).json()
    assert [m["number"] for m in own["messages"]] == [3, 4], "of an earlier call: shown"
    assert [m["number"] for m in heard(application, b)] == [1, 2, 3, 4]
    assert [m["number"] for m in heard(application, c)] == [1, 2, 3]


def test_exchange_is_idempotent_and_atomic(server: Server) -> None:
    application = server.joined()
    a, b, _ = application.parties
    messages = (message("hello"), message("part", b"one", b))
    first = exchange(application, a, *messages).json()
    assert exchange(application, a, *messages).json() == first
    assert exchange(application, a, message("hello"), message("new")).json()["numbers"] == [1, 3]
    for wrong, status, code in (
        (message("part", b"two", b), 409, "already-sent"),
        (message("part", b"two", a), 422, "invalid-request"),
        (message("part", b"two", "landlord"), 422, "unknown-party"),
        (message("part", b""), 422, "upload-empty"),
        (message("large", bytes(MAXIMUM_BODY + 1)), 413, "upload-too-large"),
        (message("Part"), 422, "invalid-request"),
        (message("part") | {"body": "A"}, 422, "invalid-request"),
        (message("part") | {"more": 1}, 422, "invalid-request"),
    ):
        refused(exchange(application, a, message("other"), wrong), status, code)
    assert [m["number"] for m in heard(application, b)] == [1, 2, 3]


def test_exchange_size_is_limited(server: Server) -> None:
    application = server.joined()
    a, *_ = application.parties
    large = [message(f"s{letter}", bytes(MAXIMUM_BODY)) for letter in "abcdefgh"]
    assert len(large) == MAXIMUM_POSTED
    assert exchange(application, a, *large).json()["numbers"] == list(range(1, 9))
    refused(exchange(application, a, *large, message("more")), 422, "invalid-request")
    largest = [{**message("x"), "body": "A" * 200_000}] * MAXIMUM_POSTED
    refused(exchange(application, a, *largest), 413, "upload-too-large")
    for odd in (
        {"after": -1},
        {"after": 2**31},
        {"wait": 26},
        {"linger": 3},
        {"until": awaited(*["x"] * 65)},
        {"until": awaited(a, step="Hello")},
        {"until": [{"sender": a}]},
        {"seen": "x" * 65},
        {"more": 1},
    ):
        refused(exchange(application, a, **odd), 422, "invalid-request")
    refused(exchange(application, a, *large, after=2**31), 422, "invalid-request")
    path = f"/applications/{application.client_id}/exchange"
    refused(application.server.http.post(path, json={}), 401, "not-authorised")
    refused(
        application.server.http.post(path, json={}, headers=bearer("any")), 401, "not-authorised"
    )


def test_exchange_waits_for_all_named_messages(server: Server) -> None:
    application = server.joined()
    a, b, c = application.parties
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            exchange, application, a, message("hello"), wait=20, until=awaited(b, c), linger=2
        )
        time.sleep(0.2)
        assert [m["sender"] for m in heard(application, b)] == [a], "posted before it waits"
        say(application, b)
        time.sleep(0.2)
        assert not waiting.done()
        start = time.monotonic()
        say(application, c)
        assert [m["sender"] for m in waiting.result(10).json()["messages"]] == [b, c]
        assert time.monotonic() - start < 1


def test_exchange_lingers_after_the_first_change(server: Server) -> None:
    application = server.joined()
    a, b, c = application.parties
    request = {"wait": 20, "until": awaited(b, c), "linger": 0.3}
    start = time.monotonic()
    assert exchange(application, a, message("hello"), **request).json()["messages"] == []
    assert 0.3 <= time.monotonic() - start < 5, "what it has posted is news as well"
    seen = exchange(application, a).json()["tag"]
    with ThreadPoolExecutor(1) as pool:
        for news in (lambda: application.send(a), lambda: say(application, b)):
            waiting = pool.submit(exchange, application, a, after=1, seen=seen, **request)
            time.sleep(0.5)
            assert not waiting.done()
            start = time.monotonic()
            news()
            found = waiting.result(10).json()
            assert 0.25 < time.monotonic() - start < 5
            seen = found["tag"]
    assert [m["sender"] for m in found["messages"]] == [b]


def test_exchange_without_conditions_lingers_too(server: Server) -> None:
    application = server.joined()
    a, b, c = application.parties
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(exchange, application, a, wait=20, linger=0.5)
        time.sleep(0.2)
        say(application, b)
        say(application, c)
        assert [m["sender"] for m in waiting.result(10).json()["messages"]] == [b, c]


@pytest.mark.parametrize("conditions", [{"until": [{"sender": "bank", "step": "hello"}]}, {}])
def test_an_exchange_ends_when_its_party_posts_by_another_call(
    server: Server, conditions: dict[str, Any]
) -> None:
    application = server.joined()
    a, b, _ = application.parties
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(exchange, application, a, wait=20, linger=2, **conditions)
        time.sleep(0.2)
        say(application, a)
        time.sleep(0.5)
        say(application, b)
        assert [m["sender"] for m in waiting.result(10).json()["messages"]] == [a]


def test_an_exchange_waits_for_the_slots_of_all_parties(server: Server) -> None:
    application = server.joined()
    a, *others = application.parties
    application.send(a)
    seen = exchange(application, a).json()["tag"]
    request = {"wait": 20, "seen": seen, "until_filled": "encrypted_inputs", "linger": 2}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(exchange, application, a, **request)
        for party in others:
            time.sleep(0.2)
            assert not waiting.done()
            application.send(party)
        time.sleep(0.5)
        say(application, others[0])
        found = waiting.result(10).json()
    assert found["messages"] == [], "it ended before the message"
    slots = found["state"]["slots"]
    filled = [slot for slot in slots if slot["file_name"] == "encrypted_inputs"]
    assert all(slot["sha256"] for slot in filled)


def test_an_exchange_waits_for_the_end_of_a_run(server: Server) -> None:
    application = server.joined()
    _, b, _ = application.parties
    application.fill()
    seen = exchange(application, b).json()["tag"]
    request = {"wait": 20, "seen": seen, "until_ended": "decide", "linger": 2}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(exchange, application, b, **request)
        time.sleep(0.2)
        application.run()
        found = waiting.result(10).json()
    assert found["state"]["programs"]["decide"]["status"] == "done"


def test_an_exchange_runs_a_program_and_returns_its_result(server: Server) -> None:
    application, watch = watched(server)
    a, b, _ = application.parties
    application.fill()
    request = {"wait": 20, "until_ended": "decide", "with_result": True}
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(exchange, application, b, linger=2, **request)
        permits = application.permits()
        found = exchange(application, a, permits=permits, run="decide", **request).json()
        waited = other.result(10).json()
    assert found["state"]["programs"]["decide"]["status"] == "done"
    result = application.output(headers=application.auth(b)).content
    assert base64.b64decode(found["result"]) == base64.b64decode(waited["result"]) == result
    fetched = [i["receiver"] for i in traffic(application, watch) if i["what"].startswith("result")]
    assert sorted(fetched) == [a, b], "each once"
    again = exchange(application, a, run="decide", **request).json()
    assert (
        again["state"]["programs"]["decide"]["job"] == found["state"]["programs"]["decide"]["job"]
    )
    assert exchange(application, a, until_ended="decide").json()["result"] == ""


def test_a_large_result_is_left_to_a_call_of_its_own(server: Server) -> None:
    application = server.filled(b"large %d" % MAXIMUM_RESULT)
    assert application.run().status_code == 200
    found = exchange(application, application.parties[0], until_ended="decide", with_result=True)
    assert found.json()["result"] == "" and len(application.output().content) > MAXIMUM_RESULT


def test_an_exchange_keeps_what_came_before_a_refused_run(server: Server) -> None:
    application = server.filled()
    a, b, _ = application.parties
    refused(exchange(application, a, message("hello"), run="decide"), 403, "consent-missing")
    refused(exchange(application, a, run="other"), 422, "unknown-name")
    (kept,) = exchange(application, b).json()["messages"]
    assert kept["step"] == "hello"
    assert exchange(application, a, message("hello")).json()["numbers"] == [kept["number"]]


@pytest.mark.parametrize("lacking", ["run", "read"])
def test_an_exchange_needs_the_scopes_of_the_calls_that_it_replaces(
    server: Server, lacking: str
) -> None:
    application = server.open()
    a, b, c = application.parties
    scopes = [scope for scope in ("relay", "send", "run", "read") if scope != lacking]
    application.join(a, scopes=scopes)
    for party in (b, c):
        application.join(party)
    application.fill()
    application.permit()
    asked = {"run": "decide", "wait": 20, "until_ended": "decide", "with_result": True}
    refused(exchange(application, a, **asked), 403, "forbidden-scope")
    run = exchange(application, b).json()["state"]["programs"]["decide"]
    assert (run["status"] == "idle") is (lacking == "run")


def test_exchange_without_conditions_returns_at_the_first_change(server: Server) -> None:
    application = server.joined()
    a, b, _ = application.parties
    start = time.monotonic()
    assert exchange(application, a, message("hello"), wait=20).json()["numbers"] == [1]
    assert exchange(application, b, wait=20).json()["messages"] != []
    assert time.monotonic() - start < 5
    start = time.monotonic()
    assert exchange(application, a, after=1, wait=0.3).json()["messages"] == []
    assert 0.25 < time.monotonic() - start < 5
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(exchange, application, b, after=1, wait=20)
        time.sleep(0.2)
        application.erase()
        refused(waiting.result(10), 404, "unknown-application")


def test_paged_exchanges_return_every_message(server: Server) -> None:
    application = server.joined()
    a, b, _ = application.parties
    steps = [f"{x}{y}" for x in "abcdef" for y in "abcdefgh"]
    for step in steps:
        say(application, a, step)
    first = exchange(application, b, message("hello")).json()
    assert len(first["messages"]) == PAGE and first["after"] == first["messages"][-1]["number"]
    second = exchange(application, b, after=first["after"]).json()
    assert [m["step"] for m in first["messages"] + second["messages"]] == [*steps, "hello"]


def test_a_refused_exchange_leaves_no_key(played: Played) -> None:
    opened = played.ready()
    token = played.tokens[opened.client_id]
    relay = Relay(played.storage, PUBLIC, played.clock)
    before = played.blobs()
    with pytest.raises(AlreadySent):
        relay.exchange(
            opened.client_id, token, [Given("hello", None, b"1"), Given("hello", None, b"2")], 0
        )
    assert played.blobs() == before
    assert relay.messages(opened.client_id, token, 0).messages == ()
