"""Trainings over a real server, by the calls that the coordinator and the members make."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.trainings import COORDINATOR, LARGEST_TRAINING_MESSAGE, MOST_POSTED
from parties.trainings_client import TrainingNews, TrainingPost, TrainingsClient
from service.api.trainings import LARGEST_TRAINING_EXCHANGE
from tests.service.driver import Server, bearer, refused
from utils.errors import (
    ForbiddenScope,
    InvalidRequest,
    NotAuthorised,
    OutOfStep,
    UnknownName,
    UnsupportedContent,
    UploadTooLarge,
)
from web.rate_limits import JOINS

LENDERS = ["bank_1", "bank_2", "bank_3"]


class Training:
    """A training on a server, and a client with the tokens of all its members."""

    def __init__(self, server: Server) -> None:
        self.client = TrainingsClient(server.url, 30)
        self.hosted = self.client.host_training(Ed25519PrivateKey.generate(), LENDERS)
        self.id = self.hosted.training_id
        self.tokens = {COORDINATOR: self.hosted.token}
        for name in LENDERS:
            joined = self.client.join_training(self.id, name, self.hosted.codes[name])
            assert joined.members == LENDERS
            self.tokens[name] = joined.token

    def exchange(self, name: str, *posts: TrainingPost, **more: Any) -> TrainingNews:
        return self.client.exchange(self.id, self.tokens[name], posts, **more)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("trainings") / "data").wait()
    yield running
    running.stop()
    assert "Exception in ASGI application" not in running.log()


@pytest.fixture
def training(server: Server) -> Training:
    return Training(server)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as running:
        yield running


def to_all(number: int, body: bytes = b"x") -> TrainingPost:
    return TrainingPost(number, None, body)


def to_coordinator(number: int, body: bytes = b"x") -> TrainingPost:
    return TrainingPost(number, COORDINATOR, body)


def test_rounds_of_a_coordinator_and_its_members(
    training: Training, pool: ThreadPoolExecutor
) -> None:
    rounds = 5

    def lend(name: str) -> list[bytes]:
        after, heard = 0, []
        for number in range(1, rounds + 1):
            posts = () if number == 1 else (to_coordinator(number, f"{name} {number}".encode()),)
            found = training.exchange(name, *posts, after=after, wait=20)
            after = found.after
            heard += [message.body for message in found.messages]
        return heard

    lenders = {name: pool.submit(lend, name) for name in LENDERS}
    after = 0
    for number in range(1, rounds + 1):
        least = len(LENDERS) if number < rounds else 1
        wait = 20 if number < rounds else 0
        post = to_all(number, os.urandom(6000) + bytes([number]))
        found = training.exchange(COORDINATOR, post, after=after, wait=wait, least=least)
        after = found.after
        if number < rounds:
            wanted = {(name, f"{name} {number + 1}".encode()) for name in LENDERS}
            assert {(m.sender, m.body) for m in found.messages} == wanted
    for lender in lenders.values():
        assert [body[-1] for body in lender.result(30)] == list(range(1, rounds + 1))
    facts = training.client.training(training.id, training.tokens["bank_1"])
    assert [m.name for m in facts.members if m.joined] == [COORDINATOR, *LENDERS]


def test_a_wait_ends_by_number_linger_time_and_the_end_of_the_training(
    training: Training, pool: ThreadPoolExecutor
) -> None:
    begun = time.monotonic()
    waiting: Future[TrainingNews] = pool.submit(
        training.exchange, COORDINATOR, wait=25, least=3, linger=0.3
    )
    training.exchange("bank_1", to_coordinator(1))
    found = waiting.result(20)
    assert [m.sender for m in found.messages] == ["bank_1"], "lingered, and then gave up"
    assert time.monotonic() - begun >= 0.3
    waiting = pool.submit(training.exchange, COORDINATOR, after=found.after, wait=25, least=2)
    training.exchange("bank_2", to_coordinator(1))
    largest = os.urandom(LARGEST_TRAINING_MESSAGE)
    training.exchange("bank_3", to_coordinator(1, largest))
    found = waiting.result(20)
    assert [m.sender for m in found.messages] == ["bank_2", "bank_3"]
    assert found.messages[1].body == largest
    assert training.exchange(COORDINATOR, after=found.after, wait=0.05).messages == []
    waiting = pool.submit(training.exchange, "bank_1", wait=25)
    other = pool.submit(training.exchange, COORDINATOR, after=found.after, wait=25, least=3)
    training.client.close_training(training.id, training.tokens[COORDINATOR])
    assert waiting.result(20).state == other.result(20).state == "closed"
    assert time.monotonic() - begun < 20
    with pytest.raises(OutOfStep, match="closed"):
        training.exchange("bank_1", to_all(2))


def test_the_largest_post_and_response(training: Training) -> None:
    large = os.urandom(LARGEST_TRAINING_MESSAGE)
    posts = [to_coordinator(number, large) for number in range(1, 33)]
    training.exchange("bank_1", *posts)
    found = training.exchange(COORDINATOR, wait=5, least=32)
    assert [m.body == large for m in found.messages] == [True] * 32
    with pytest.raises(InvalidRequest):
        training.exchange("bank_1", *posts, to_coordinator(99))
    with pytest.raises(InvalidRequest):
        training.exchange("bank_1", *[to_all(n) for n in range(1, MOST_POSTED + 2)])


def test_posted_messages_survive_the_kill_of_a_server(start: Any) -> None:
    server: Server = start().wait()
    training = Training(server)
    after = training.exchange("bank_2").after
    training.exchange("bank_1", to_all(1, b"kept"), to_coordinator(2, b"too"))
    server.stop(signal.SIGKILL)
    server.start()
    server.wait()
    assert training.exchange("bank_1", to_all(1, b"kept"), to_coordinator(2, b"too")).after
    found = training.exchange("bank_2", after=after, wait=20)
    assert [(m.number, m.body) for m in found.messages] == [(1, b"kept")]
    found = training.exchange(COORDINATOR, wait=20, least=2)
    assert [(m.number, m.body) for m in found.messages] == [(1, b"kept"), (2, b"too")]


def test_others_learn_nothing_and_large_bodies_are_refused(
    server: Server, training: Training
) -> None:
    path = f"/trainings/{training.id}"
    for token in ("none", training.hosted.codes["bank_1"], Training(server).tokens["bank_1"]):
        for method, url in (
            ("GET", path),
            ("DELETE", path),
            ("POST", f"{path}/exchange"),
        ):
            json = {} if method == "POST" else None
            answer = server.http.request(method, url, headers=bearer(token), json=json)
            refused(answer, 401, NotAuthorised.code)
    headers = bearer(training.tokens["bank_1"])
    refused(server.http.delete(path, headers=headers), 403, ForbiddenScope.code)
    for sent in (
        {"messages": [{"number": 1, "to": None, "body": "no base64!"}]},
        {"messages": [{"number": 0, "to": None, "body": "eA=="}]},
        {"messages": [{"number": 1, "to": "../x", "body": "eA=="}]},
        {"wait": 26},
        {"least": 0},
        {"more": 1},
    ):
        answer = server.http.post(f"{path}/exchange", json=sent, headers=headers)
        refused(answer, 422, InvalidRequest.code)
    answer = server.http.post(f"{path}/exchange", content=b"{}", headers=headers)
    refused(answer, 415, UnsupportedContent.code)
    whole = b"{" + b" " * LARGEST_TRAINING_EXCHANGE + b"}"
    kind = {"Content-Type": "application/json"}
    answer = server.http.post(f"{path}/exchange", content=whole, headers=headers | kind)
    refused(answer, 413, UploadTooLarge.code)
    with pytest.raises(UnknownName):
        training.client.training("0" * 32, training.tokens["bank_1"])
    assert training.exchange("bank_2").messages == []


def test_a_large_body_is_not_read_before_the_token_is_checked(
    server: Server, training: Training
) -> None:
    lines = (
        f"POST /trainings/{training.id}/exchange HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Authorization: Bearer nobody",
        "Content-Type: application/json",
        f"Content-Length: {LARGEST_TRAINING_EXCHANGE}",
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_guesses_of_codes_are_limited_by_address(server: Server, training: Training) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.77")
    body = {"member": "bank_1", "code": "guess"}
    with httpx.Client(base_url=server.url, transport=transport, timeout=30) as guesser:
        path = f"/trainings/{'0' * 32}/join"
        for _ in range(JOINS + 1):
            answer = guesser.post(path, json=body)
            if answer.status_code == 429:
                break
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
    Training(server)
