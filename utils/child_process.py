"""A process of this project with settings by name, which can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

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


class StartedProcess(Protocol):
    """The parts of `subprocess.Popen` that a ChildProcess needs."""

    pid: int

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process's end; return its exit code. Raises subprocess.TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""


def launched(
    command: Sequence[str], environment: Mapping[str, str], log: Path, stdin: str
) -> StartedProcess:
    """Start a process in a session of its own, with `stdin` as its whole standard input.

    Its output is appended to the log.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own code, no shell
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            text=True,
            start_new_session=True,
        )
    if process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    return process


class ChildProcess:
    """A script or module of this project in its own process and session.

    Its output is appended to a log file. A test or measurement that is interrupted with Ctrl-C
    must stop it, because the signal does not reach another session.
    """

    launch = staticmethod(launched)
    """Starts the process; tests replace it, so that libraries are not imported every time."""

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
        self._process: StartedProcess | None = None

    def start(self, stdin: str = "") -> None:
        """Start the process, with `stdin` as its whole standard input."""
        own = environment(**self._settings) | dict(self._variables)
        self._process = self.launch(self._command, own, self.log_path, stdin)

    @property
    def pid(self) -> int:
        """The process id of the last start; raises ServerUnreachable if there was none."""
        return self._started().pid

    @property
    def alive(self) -> bool:
        """True if the process runs."""
        return self._process is not None and self._process.poll() is None

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
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
        """Stop the process with a signal; return its exit code, 0 if it was never started.

        Raises ServerUnreachable if it still runs after `seconds` and had to be killed.
        """
        if self._process is None:
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

    def _started(self) -> StartedProcess:
        if self._process is None:
            raise ServerUnreachable(f"{self._name} has not been started.")
        return self._process
