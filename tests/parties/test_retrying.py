"""Retries: the calls that are repeated, for how long, and the text shown meanwhile."""

import httpx
import pytest

from parties import retrying as patience
from parties.retrying import ask_again, may_pass, waiting_words
from utils.errors import (
    EngineUnavailable,
    OutOfStep,
    QueueFull,
    RunCancelled,
    ServerStopping,
    ServerUnreachable,
    StorageUnavailable,
    TooManyApplications,
)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(patience, "LONGEST_PAUSE_SECONDS", 0.1)


def lost(cause):
    error = ServerUnreachable("The server at http://server:1 cannot be reached (X). Start it.")
    error.__cause__ = cause
    return error


class Server:
    """Raises these errors one after another, and then succeeds."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


PASSING = [
    QueueFull("full", 0.01),
    StorageUnavailable("away"),
    EngineUnavailable("loading"),
    lost(httpx.ConnectError("refused")),
    lost(httpx.ReadError("reset")),
    lost(httpx.RemoteProtocolError("gone")),
    lost(httpx.ReadTimeout("slow")),
    ServerStopping("shutting down"),
]


def test_temporary_errors_are_retried():
    server = Server(*PASSING)
    assert ask_again(server, 30) == "answer"
    assert server.calls == len(PASSING) + 1


@pytest.mark.parametrize(
    "error",
    [OutOfStep("first"), RunCancelled("ended"), lost(None), lost(httpx.UnsupportedProtocol("ftp"))],
)
def test_permanent_errors_are_raised_at_once(error):
    server = Server(error)
    assert not may_pass(error)
    with pytest.raises(type(error)):
        ask_again(server, 30)
    assert server.calls == 1


def test_wait_longer_than_the_time_left_is_not_started():
    server = Server(TooManyApplications("full", 31))
    with pytest.raises(TooManyApplications):
        ask_again(server, 30)
    assert server.calls == 1


def test_retries_end_with_the_last_error():
    errors = [QueueFull(str(i), 0.05) for i in range(100)]
    server = Server(*errors)
    with pytest.raises(QueueFull) as caught:
        ask_again(server, 0.3)
    assert 1 < server.calls < 100 and caught.value is errors[server.calls - 1]


def test_the_text_has_the_reason_and_the_time(monkeypatch):
    monkeypatch.setattr(patience, "GLANCE_SECONDS", 0.05)
    told = []
    full = QueueFull("The server is busy: 64 runs wait. Run it again in a moment.", 0.2)
    ask_again(Server(full), 30, lambda error, seconds: told.append((error, seconds)))
    assert {error for error, _ in told} == {full} and len(told) > 2
    seconds = [left for _, left in told]
    assert seconds == sorted(seconds, reverse=True) and 0 < seconds[0] <= 0.2 * 1.2
    assert waiting_words(full, 1.4) == ("The server is busy: 64 runs wait. Trying again in 2 s.")
    assert waiting_words(TooManyApplications("It holds 9. Wait.", 3), 3) == (
        "The server is busy. It holds 9. Trying again in 3 s."
    )
    assert waiting_words(PASSING[3], 0.1) == (
        "The server at http://server:1 cannot be reached (X). Trying again in 1 s."
    )


def test_the_callback_may_end_the_wait():
    def told(error, seconds):
        raise RunCancelled("enough")

    server = Server(QueueFull("full", 20))
    with pytest.raises(RunCancelled):
        ask_again(server, 30, told)
    assert server.calls == 1


def test_a_server_that_is_stopping_gets_time_to_restart(monkeypatch):
    moment = [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: moment[0])
    monkeypatch.setattr(patience, "wait_for", lambda seconds, *_: moment.append(moment.pop() + 2))
    away = [lost(httpx.ConnectError("refused"))] * 4
    with pytest.raises(ServerUnreachable):
        ask_again(Server(*away))
    moment[0] = 0.0
    server = Server(ServerStopping("The server is shutting down."), *away)
    assert ask_again(server) == "answer"
    assert moment[0] > patience.BRIEF_SECONDS
    moment[0] = 0.0
    with pytest.raises(ServerUnreachable):  # it does not come back in time
        ask_again(Server(ServerStopping("The server is shutting down."), *away * 8))
