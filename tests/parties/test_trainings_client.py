"""The client for trainings believes no response that does not fit the call, and repeats calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.trainings import LARGEST_POST, LARGEST_TRAINING_MESSAGE, MOST_READ
from parties import trainings_client
from parties.trainings_client import TrainingNews, TrainingPost, TrainingsClient
from utils.errors import AlreadySent, InvalidRequest, MalformedMessage, ServerUnreachable
from web.problems import problem

ID, TOKEN = "5b1e0f6c2d7a48938e4f1c6a9b2d7e30", "token"
POST = TrainingPost(7, "bank_1", b"sealed")
Answer = Callable[[httpx.Request], httpx.Response]


def client_of(answer: Answer) -> TrainingsClient:
    return TrainingsClient("http://127.0.0.1:9", 5, httpx.MockTransport(answer))


def message(each: int, **change: Any) -> dict[str, Any]:
    return {"id": each, "sender": "a", "to": None, "number": 1, "body": "eA==", **change}


def exchanged(**change: Any) -> dict[str, Any]:
    fine = {"numbers": [7], "messages": [message(4), message(6)], "after": 8, "state": "open"}
    return fine | change


def asked(body: dict[str, Any]) -> TrainingNews:
    client = client_of(lambda _: httpx.Response(200, json=body))
    return client.exchange(ID, TOKEN, [POST], after=3)


def test_a_response_is_taken_as_it_is() -> None:
    found = asked(exchanged(later="ignored"))
    assert [(m.id, m.sender, m.to, m.body) for m in found.messages] == [
        (4, "a", None, b"x"),
        (6, "a", None, b"x"),
    ]
    assert (found.after, found.state, found.more, found.dropped) == (8, "open", False, False)


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": []},
        {"numbers": [8]},
        {"messages": [message(6), message(4)]},
        {"messages": [message(4), message(4)]},
        {"messages": [message(3)]},
        {"messages": [message(9)]},
        {"messages": [], "after": 2},
        {"messages": [message(4, body="")]},
        {"messages": [message(4, body="e")]},
        {"messages": [message(i) for i in range(4, MOST_READ + 5)], "after": 999},
    ],
)
def test_a_response_that_does_not_fit_the_call_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        asked(exchanged(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"state": "unknown"},
        {"after": 2**53},
        {"messages": [message(4, number=0)]},
        {"messages": [message(4, sender="x\n")]},
        {"messages": [message(4, to="x" * 65)]},
        {"messages": [{}]},
    ],
)
def test_a_response_of_another_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ServerUnreachable, match="not a Triseal server"):
        asked(exchanged(**change))


def test_a_response_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings_client, "EXCHANGE_BYTES", 1000)
    with pytest.raises(MalformedMessage, match="more than"):
        asked(exchanged(padding="x" * 1000))


def test_codes_are_those_of_the_members() -> None:
    hosted = {"training_id": ID, "token": "t", "expires_at": "2026-03-03T09:00:00Z"}
    for wrong in (
        {"codes": {"a": "1", "b": "2"}},
        {"codes": {"a": "1", "b": "2", "d": "3"}},
    ):
        client = client_of(lambda _, wrong=wrong: httpx.Response(201, json=hosted | wrong))
        with pytest.raises(ServerUnreachable):
            client.host_training(Ed25519PrivateKey.generate(), ["a", "b", "c"])


def test_an_exchange_is_repeated_with_the_same_bytes() -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        if len(seen) == 1:
            raise httpx.ReadError("the connection was lost")
        if len(seen) == 2:
            return httpx.Response(503)
        return httpx.Response(200, json=exchanged())

    client_of(answer).exchange(ID, TOKEN, [POST], after=3)
    assert len(seen) == 3 and len(set(seen)) == 1
    assert json.loads(seen[0])["messages"] == [{"number": 7, "to": "bank_1", "body": "c2VhbGVk"}]


def test_errors_of_the_server_are_raised_and_joining_is_not_repeated() -> None:
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.url.path)
        if request.url.path.endswith("join"):
            return httpx.Response(503)
        refusal = problem(AlreadySent("Another message."))
        return httpx.Response(refusal.status_code, content=bytes(refusal.body))

    client = client_of(answer)
    with pytest.raises(AlreadySent, match="Another message"):
        client.exchange(ID, TOKEN, [POST])
    with pytest.raises(ServerUnreachable):
        client.join_training(ID, "a", "code")
    assert calls == [f"/trainings/{ID}/exchange", f"/trainings/{ID}/join"]


def test_calls_outside_the_bounds_are_not_made() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError("the call was made")

    client, large = client_of(answer), bytes(LARGEST_TRAINING_MESSAGE)
    for posts in (
        [TrainingPost(1, None, b"")],
        [TrainingPost(1, None, large + b"x")],
        [TrainingPost(i + 1, None, large) for i in range(LARGEST_POST // len(large) + 1)],
        [TrainingPost(0, None, b"x")],
        [TrainingPost(1, "no name", b"x")],
    ):
        with pytest.raises(InvalidRequest):
            client.exchange(ID, TOKEN, posts)
    for more in ({"wait": 26}, {"least": 0}, {"after": -1}, {"linger": -1}):
        with pytest.raises(InvalidRequest):
            client.exchange(ID, TOKEN, [], **more)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest):
        client.exchange("../sessions", TOKEN)
    for members in (["a", "b"], ["a", "b", "a"], ["a", "b", "coordinator"]):
        with pytest.raises(InvalidRequest):
            client.host_training(Ed25519PrivateKey.generate(), members)
