"""Servers that the tests start and that end with them, even where the tests are killed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

START_SECONDS = 60.0


class Attached:
    """A shell script that runs until its input ends, which the end of the tests ends too.

    The script finds `arguments` in "$@"; it has to wait for the end of its input (`cat`) and then
    to end what it has started.
    """

    def __init__(self, script: str, *arguments: str, log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._shell = subprocess.Popen(
                ("sh", "-c", script, "sh", *arguments),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd="/",  # another user's server can be there
                start_new_session=True,  # what ends the tests by Ctrl-C must not end it first
            )

    def wait_until(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if time.monotonic() > deadline or self._shell.poll() is not None:
                why = self._log.read_text()
                self.end()
                raise RuntimeError(f"It does not start: {why}")
            time.sleep(0.02)

    def end(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait(START_SECONDS)
