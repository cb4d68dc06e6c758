"""Copies of a preloaded process behave as processes that were started by themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parties.running import until
from tests.preloaded import Copy, Preloaded, PreloadedProcesses
from tests.preloaded_process import NUMBER
from utils.child_process import environment

REPORTS = """
import json, os, sys
own = {n: v for n, v in os.environ.items() if n.startswith("TRISEAL_")}
main = sys.modules["__main__"].__dict__["REPORTS"]
print(json.dumps([sys.argv[1:], own, sys.stdin.read(), os.getsid(0) == os.getpid(), main]))
sys.exit(7)
"""
WAITS = "import time\nprint('begun', flush=True)\ntime.sleep(99)"
WORKS = """
import multiprocessing, sys
def work():
    print("setproctitle" in sys.modules, multiprocessing.parent_process().name, flush=True)
if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=work)
    worker.start()
    worker.join()
    sys.exit(worker.exitcode)
"""


@pytest.fixture(scope="module")
def preloaded() -> Iterator[Preloaded]:
    process = Preloaded(["json"])
    yield process
    process.stop()


def run(preloaded: Preloaded, folder: Path, code: str, *words: str, stdin: str = "") -> Copy:
    script = folder / "script.py"
    script.write_text(f"REPORTS = 'main'\n{code}")
    own = environment(engine="clear")
    return preloaded.copy([str(script), *words], own, folder / "log", stdin)


def test_copy_has_its_own_words_settings_input_log_and_session(
    preloaded: Preloaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRISEAL_WORKERS", "7")
    for said in ("one", "two"):
        assert run(preloaded, tmp_path, REPORTS, "--a", stdin=said).wait(30) == 7
    found = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert found == [
        [["--a"], {"TRISEAL_ENGINE": "clear"}, said, True, "main"] for said in ("one", "two")
    ]


def test_signals_reach_a_copy_alone(preloaded: Preloaded, tmp_path: Path) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        (tmp_path / "log").write_text("")
        copy = run(preloaded, tmp_path, WAITS)
        until(lambda: "begun" in (tmp_path / "log").read_text())
        assert copy.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            copy.wait(0)
        copy.send_signal(number)
        assert copy.wait(30) == -number
        copy.kill()  # nothing happens to what has ended
    assert run(preloaded, tmp_path, "").wait(30) == 0


def test_signal_to_a_copy_that_ends_at_this_moment_is_no_error() -> None:
    """The process is gone, and its status has not arrived yet."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    told, report = os.pipe()
    os.write(report, NUMBER.pack(ended.pid))
    copy = Copy(("ended",), told)
    assert copy.poll() is None
    copy.send_signal(signal.SIGTERM)
    os.write(report, NUMBER.pack(signal.SIGTERM))  # as a wait status
    os.close(report)
    assert copy.wait(0) == -signal.SIGTERM


def test_error_is_printed_as_by_the_interpreter(preloaded: Preloaded, tmp_path: Path) -> None:
    assert run(preloaded, tmp_path, "raise LookupError('lost')").wait(30) == 1
    assert (tmp_path / "log").read_text().splitlines()[-1] == "LookupError: lost"


def test_variables_that_are_read_at_the_start_need_a_new_interpreter(tmp_path: Path) -> None:
    """The words of one of the commands, with an unusable setting, so that it ends at once."""
    processes = PreloadedProcesses()
    own = environment(server_host="http://")
    try:
        for variables, copied in (({}, True), ({"LC_ALL": "POSIX"}, False)):
            command = (sys.executable, "server.py")
            made = processes.launch(command, own | variables, tmp_path / "log", "")
            assert isinstance(made, Copy) is copied
            assert made.wait(60) == 1
    finally:
        processes.stop()
    one, two = (tmp_path / "log").read_text().splitlines()
    assert one == two and "TRISEAL_SERVER_HOST" in one


@pytest.mark.parametrize(("words", "copied"), [(("server.py",), True), ((), False)])
def test_workers_of_a_servers_copy_are_copies(
    preloaded: Preloaded, tmp_path: Path, words: tuple[str, ...], copied: bool
) -> None:
    """A new interpreter would not have the library that names processes."""
    assert run(preloaded, tmp_path, WORKS, *words).wait(60) == 0
    assert (tmp_path / "log").read_text() == f"{copied} MainProcess\n"
