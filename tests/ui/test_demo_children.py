"""Processes of the demonstration that end are started again, within bounds, and logged."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from settings import ROOT
from tests.parties.running import until
from ui import demo_output, demo_restarts
from ui.demo_by_hand import write_script
from ui.demo_children import Children
from ui.demo_output import ProcessOutput, printed_words
from ui.demo_processes import Command
from ui.demo_restarts import FIRST_DELAY, MOST_RESTARTS, STEADY_SECONDS, Restarts
from utils.errors import ServerUnreachable


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_restarts_wait_longer_each_time_and_end() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    delays = []
    while (delay := restarts.ended()) is not None:
        delays.append(delay)
        clock.now += delay / 2
        assert not restarts.due()
        clock.now += delay / 2
        assert restarts.due()
        restarts.started()
        assert not restarts.due()
    assert delays == [FIRST_DELAY * 2**i for i in range(MOST_RESTARTS)]


def test_steady_run_allows_as_many_restarts_again() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    for _ in range(3 * MOST_RESTARTS):
        clock.now += STEADY_SECONDS
        assert restarts.ended() == FIRST_DELAY
        restarts.started()


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(demo_restarts, "FIRST_DELAY", 0.001)
    said: list[str] = []
    made = Children(tmp_path / "logs", False, said.append)
    made.said = said  # type: ignore[attr-defined]
    yield made
    made.stop()


def checked(children: Children, words: str) -> bool:
    children.check()
    return words in "\n".join(children.said)  # type: ignore[attr-defined]


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def test_process_that_always_ends_is_given_up_with_the_command_for_it(
    children: Any, tmp_path: Path
) -> None:
    (tmp_path / "ends_at_once.py").write_text("import sys; print('hello'); sys.exit(3)")
    path = str(tmp_path / "ends_at_once.py")
    children.start("witness", [path], {})
    children.keep()
    until(lambda: checked(children, "not started again"), 30)
    assert children.said[0].startswith("The witness has ended (exit code 3); see ")
    assert len(children.said) == MOST_RESTARTS + 1
    children.check()  # goes on without it
    children.stop()
    log = (tmp_path / "logs" / "witness.log").read_text()
    assert log.count("hello\n") == MOST_RESTARTS + 1


def test_needed_process_that_always_ends_ends_the_demonstration(
    children: Any, tmp_path: Path
) -> None:
    children.start("server", [script(tmp_path, "raise SystemExit('no port')")], {}, needed=True)
    children.keep()
    with pytest.raises(ServerUnreachable, match="ended too often"):
        until(lambda: checked(children, "never said"), 30)
    until(lambda: "server: no port" in children.said)


def test_process_that_ends_during_the_start_is_not_started_again(
    children: Any, tmp_path: Path
) -> None:
    children.start("server", [script(tmp_path, "raise SystemExit(1)")], {})
    with pytest.raises(ServerUnreachable, match="The server has ended"):
        until(lambda: checked(children, "never said"), 30)


LINES = """
import json, sys
print("on stdout")
for level in ("info", "warning", "error"):
    print(json.dumps({"level": level, "message": f"a {level}", "path": "/x"}), file=sys.stderr)
print(json.dumps({"level": "error", "message": "it fails", "exception": "Trace\\nOSError: full"}),
      file=sys.stderr)
print("plain \\x1b[2J", file=sys.stderr)
print("[]", file=sys.stderr)
print("without an end", end="", file=sys.stderr)
"""


def test_requests_go_to_the_file_and_problems_to_the_terminal_too(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "logs" / "server.log"
    output = ProcessOutput("server", path, said.append)
    with output.streams() as streams:
        process = Command([script(tmp_path, LINES)], {}, streams)
    process.wait()
    output.close()
    assert said == [
        "server: warning: a warning",
        "server: error: a error",
        "server: error: it fails (OSError: full)",
        "server: plain \\x1b[2J",
        "server: []",
        "server: without an end",
    ]
    lines = path.read_text().splitlines()
    assert len(lines) == 8 and "on stdout" in lines
    assert {"level": "info", "message": "a info", "path": "/x"} in [
        json.loads(line) for line in lines if line.startswith("{")
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_log_files_and_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_output, "FILE_BYTES", 50_000)
    output = ProcessOutput("server", tmp_path / "logs" / "server.log", print)
    text = "print('x' * 1_000_000)\nfor i in range(5000): print(i, 'y' * 90)"
    with output.streams() as streams:
        process = Command([script(tmp_path, text)], {}, streams)
    process.wait()
    output.close()
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["server.log", "server.log.1", "server.log.2"]
    assert all(file.stat().st_size <= 50_000 for file in files)
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert files[0].read_text().splitlines()[-1].startswith("4999 ")


def test_silent_output_still_reaches_the_file(tmp_path: Path) -> None:
    said: list[str] = []
    output = ProcessOutput("server", tmp_path / "server.log", said.append)
    output.silence()
    with output.streams() as streams:
        process = Command([script(tmp_path, LINES)], {}, streams)
    process.wait()
    output.close()
    assert said == [] and "a warning" in (tmp_path / "server.log").read_text()


def test_line_that_is_not_a_log_line_is_printed_whole() -> None:
    for line in ("Traceback", '{"level"', '{"message": "x"}', "[" * 100_000):
        assert printed_words(line) == line


def test_script_for_a_start_by_hand_is_private_and_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRISEAL_NAME", "of the environment")
    code = "import os,sys;print([v for k,v in os.environ.items() if k[:7]=='TRISEAL'],sys.argv)"
    monkeypatch.setattr(sys, "executable", "/bin/echo")
    command = write_script(tmp_path, ["a module", code], {"TRISEAL_TOKEN": "it's $HOME"})
    path = tmp_path / "start.sh"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "it's $HOME" not in command
    shown = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert shown.stdout == f"-m a module {code}\n"
    own = path.read_text().replace("exec ", "env; exec ")
    shown = subprocess.run(["sh", "-c", own], capture_output=True, text=True, check=True)
    assert "TRISEAL_TOKEN=it's $HOME\n" in shown.stdout
    assert "TRISEAL_NAME=of the environment\n" in shown.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems copy no pages")
def test_ctrl_c_ends_a_copy_at_once_until_its_command_runs(tmp_path: Path) -> None:
    """A KeyboardInterrupt would be printed, as the copy is no command yet."""
    (tmp_path / "shown.py").write_text(
        "import signal\nprint(signal.getsignal(signal.SIGINT).__name__)"
    )
    starter = tmp_path / "starter.py"
    starter.write_text(
        "from ui.demo_processes import Page, page_context\n"
        "if __name__ == '__main__':\n"
        "    Page(page_context(), ['shown'], {}, (1, 2)).wait()\n"
    )
    ended = subprocess.run(
        ["env", "--default-signal=INT", sys.executable, str(starter)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert (ended.stdout, ended.stderr) == ("end_at_once\n", "")
