"""Processes with settings by name: their environment, their log, and how they end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from utils.child_process import ChildProcess, environment
from utils.errors import ServerUnreachable

ECHO = "import os, sys; print(os.environ['TRISEAL_ENGINE'], sys.stdin.read())"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('begun', flush=True); time.sleep(99)"
)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Callable[..., ChildProcess]]:
    """Yield a function that makes processes, which are killed after the test."""
    made: list[ChildProcess] = []

    def make(code: str, **settings: Any) -> ChildProcess:
        made.append(ChildProcess(["-c", code], tmp_path / "log", settings))
        return made[-1]

    yield make
    for one in made:
        one.kill()


def test_child_gets_only_the_given_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRISEAL_WORKERS", "7")
    monkeypatch.setenv("triseal_database_url", "sqlite://")
    monkeypatch.setenv("OTHER", "kept")
    own = environment(server_port=8000, blob_url=None)
    assert {n: v for n, v in own.items() if n.upper().startswith("TRISEAL_")} == {
        "TRISEAL_SERVER_PORT": "8000"
    }
    assert own["OTHER"] == "kept"


def test_restarts_append_to_one_log_and_have_own_stdin(
    child: Callable[..., ChildProcess],
) -> None:
    process = child(ECHO, engine="clear")
    for said in ("one", "two"):
        process.start(said)
        assert process.join() == 0
    assert process.log() == "clear one\nclear two\n"
    assert process.stop() == 0


def test_early_exit_raises_with_the_log(child: Callable[..., ChildProcess]) -> None:
    process = child("raise SystemExit('no such model')")
    process.start()
    with pytest.raises(ServerUnreachable, match="has ended: no such model"):
        process.wait_until(lambda: False)
    assert not process.alive


def test_process_that_ignores_sigterm_is_killed(child: Callable[..., ChildProcess]) -> None:
    process = child(STUBBORN)
    with pytest.raises(ServerUnreachable, match="has not been started"):
        process.send(signal.SIGTERM)
    assert process.stop() == 0
    process.start()
    process.wait_until(lambda: "begun" in process.log())
    with pytest.raises(ServerUnreachable, match="still runs after"):
        process.stop(seconds=0.2)
    assert not process.alive and process.join() == -signal.SIGKILL
