"""A process of this project with settings by name, which can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.environments import ROOT
from utils.errors import ServerUnreachable

START_SECONDS = 90.0
STOP_SECONDS = 30.0
_PREFIX = "TRISEAL_"
_POLL_SECONDS = 0.05
_LOG_TAIL = 2000


def environment(**settings: Any) -> dict[str, str]:
    """Return this process's environment with these settings of Triseal and no others.

    A setting of None is left at its default.
    """
    others = {name: v for name, v in os.environ.items() if not name.upper().startswith(_PREFIX)}
    given = {_PREFIX + name.upper(): str(v) for name, v in settings.items() if v is not None}
    return others | given


class ChildProcess:
    """A script or module of this project in its own process and session.

    Its output is appended to a log file. A test or measurement that is interrupted with Ctrl-C
    must stop it, because the signal does not reach another session.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        settings: Mapping[str, Any],
        variables: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """Prepare `python COMMAND`; changes of `settings` apply from the next `start`.

        `variables` are further environment variables, by their full names.
        """
        self.log_path = log
        self._command = (python, *command)
        self._settings = settings
        self._variables = variables or {}
        self._popen: subprocess.Popen[str] | None = None

    def start(self, stdin: str = "") -> None:
        """Start the process, with `stdin` as its whole standard input."""
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - our own code, no shell
                self._command,
                cwd=ROOT,
                env=environment(**self._settings) | dict(self._variables),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        if self._popen.stdin is not None:
            self._popen.stdin.write(stdin)
            self._popen.stdin.close()

    @property
    def pid(self) -> int:
        """The process id of the last start; raises ServerUnreachable if there was none."""
        return self._started().pid

    @property
    def alive(self) -> bool:
        """True if the process runs."""
        return self._popen is not None and self._popen.poll() is None

    def log(self) -> str:
        """Return the output of all starts so far."""
        if not self.log_path.is_file():  # a device such as /dev/full has no end
            return ""
        return self.log_path.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Wait until `ready` returns True while the process runs.

        Raises ServerUnreachable with the end of the log if the process ends or time is up.
        """
        end = time.monotonic() + seconds
        while True:
            over = not self.alive or time.monotonic() > end  # its last words may make it ready
            if ready():
                return
            if over:
                break
            time.sleep(_POLL_SECONDS)
        state = "is not ready" if self.alive else "has ended"
        raise ServerUnreachable(f"{self._name} {state}: {self.log()[-_LOG_TAIL:]}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        self._started().send_signal(number)

    def join(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until the process ends; return its exit code.

        Raises ServerUnreachable if it still runs after `seconds`.
        """
        try:
            return self._started().wait(seconds)
        except subprocess.TimeoutExpired:
            raise ServerUnreachable(
                f"{self._name} still runs after {seconds:g} seconds: {self.log()[-_LOG_TAIL:]}"
            ) from None

    def kill(self) -> None:
        """Kill the process with SIGKILL, if it was started, and reap it."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait(STOP_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Stop the process with a signal; return its exit code, 0 if it was never started.

        Raises ServerUnreachable if it still runs after `seconds` and had to be killed.
        """
        if self._popen is None:
            return 0
        self.send(number)
        try:
            return self.join(seconds)
        except ServerUnreachable:
            self.kill()
            raise

    @property
    def _name(self) -> str:
        return " ".join(self._command[1:])

    def _started(self) -> subprocess.Popen[str]:
        if self._popen is None:
            raise ServerUnreachable(f"{self._name} has not been started.")
        return self._popen
