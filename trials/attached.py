"""Servers that end with the tests that started them, even if the tests are killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

START_SECONDS = 60.0


class Attached:
    """A shell script that runs until its standard input is closed, at the latest by the tests' end.

    The script gets `arguments` as "$@". It must wait for the end of its input (`cat`) and then end
    the processes that it started.
    """

    def __init__(self, script: str, *arguments: str, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._shell = subprocess.Popen(
                ("sh", "-c", script, "sh", *arguments),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd="/",  # a folder that another user's server can enter
                start_new_session=True,  # Ctrl-C for the tests must not end it first
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if time.monotonic() > deadline or self._shell.poll() is not None:
                why = self._log.read_text()
                self.end()
                raise RuntimeError(f"The server did not start: {why}")
            time.sleep(0.02)

    def end(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait(START_SECONDS)
