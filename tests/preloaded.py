"""Processes of the tests as copies of one that has their libraries, which take seconds to import.

Tests that start Python by themselves, such as those of the entry points, start a new interpreter.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.preloaded_process import NUMBER
from training.measure import remote
from trials.servers import QUIET
from utils.child_process import StartedProcess, launched
from utils.environments import ROOT, has_concrete

ERRORS = Path("/dev/stderr")
REMOTE = "training.measure.remote"
AGENTS = (
    "engines.levelled.party",
    "federated.__main__",
    "federated.agents.api.command",
    "parties.__main__",
    "parties.governance.api.apps",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "witness.__main__",
)
SERVERS_AND_AGENTS = (
    *AGENTS,
    "alembic.context",
    "server",
    "service.app",
    "service.execution.local",
    "service.storage.storage",
    "sqlalchemy.dialects.sqlite",
    "training.measure.application_time",
    "training.measure.levelled_steps",
    REMOTE,
    "trials.joint_stand_in",
    "trials.load.generator",
    "trials.load.probe",
    "trials.stand_in",
    "web.announcement",
    "web.connections",
)
"""The modules that these processes import, late imports included."""
PAGES = (
    *AGENTS,
    "app",
    "backend",
    "ui.compliance.page",
    "ui.demo_libraries",
    "ui.federated.page",
    "ui.institution.page",
    "ui.owner.page",
    "ui.single.page",
)
COMMANDS = {
    "server.py": SERVERS_AND_AGENTS,
    "trials.stand_in_server": SERVERS_AND_AGENTS,
    "trials.joint_stand_in": SERVERS_AND_AGENTS,
    "parties": SERVERS_AND_AGENTS,
    "federated": SERVERS_AND_AGENTS,
    "witness": SERVERS_AND_AGENTS,
    REMOTE: SERVERS_AND_AGENTS,
    "app.py": PAGES,
    "ui.compliance": PAGES,
}
"""The modules to import for a script, or for a module after `-m`."""
READ_AT_START = ("PYTHON", "LANG", "LC_", "OMP_", "TMPDIR")
"""Variables that the interpreter and its libraries read when they start begin with these."""


class Copy:
    """A copy of a preloaded process, with the parts of `subprocess.Popen` that are needed."""

    def __init__(self, words: Sequence[str], told: int) -> None:
        self.args, self._told, self._lock = tuple(words), told, threading.Lock()
        self.pid = self._number()
        self.returncode: int | None = None

    def __del__(self) -> None:
        os.close(self._told)

    def _number(self) -> int:
        content = os.read(self._told, NUMBER.size)
        if len(content) < NUMBER.size:
            raise EOFError("the preloaded process has ended")
        return int(NUMBER.unpack(content)[0])

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _ended(self, seconds: float | None) -> int | None:
        # Not under the lock, so that one thread can wait while another asks.
        if self.returncode is None and select.select([self._told], [], [], seconds)[0]:
            with self._lock:
                if self.returncode is None:
                    self.returncode = os.waitstatus_to_exitcode(self._number())
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Preloaded:
    """A process that has imported modules, and is copied."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._requests, theirs = socket.socketpair()
        self._lock, self._held = threading.Lock(), ExitStack()
        made = TemporaryDirectory(prefix="preloaded-", ignore_cleanup_errors=True)
        folder, variables = self._held.enter_context(made), {}
        if modules == PAGES:
            # As in ui/gradio_environment.py, for all copies: Gradio reads both when it is imported.
            variables = {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *QUIET, "-m", "tests.preloaded_process", folder, *modules],
                cwd=ROOT,
                env=os.environ | variables,
                stdin=theirs,
            )

    def copy(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        stdin: str | int,
    ) -> Copy:
        """Start a copy that runs a script or module; its output is appended to the log.

        `stdin` is its whole standard input, or an open descriptor.
        """
        request = {"words": list(words), "environment": dict(environment), "stdin": stdin}
        given = [stdin] if isinstance(stdin, int) else []
        read, write = os.pipe()
        with log.open("ab") as output, self._lock:
            descriptors = [output.fileno(), write, *given]
            socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
        os.close(write)
        return Copy(words, read)

    def stop(self) -> None:
        self._requests.close()
        self._process.wait()
        self._held.close()


class PreloadedProcesses:
    """Starts processes for `ChildProcess`: as copies if their libraries are known, or anew."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, ...], Preloaded] = {}
        self._lock = threading.Lock()

    def launch(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, stdin: str
    ) -> StartedProcess:
        """Start a process as `utils.child_process.launched` does."""
        python, *words = command
        if tuple(words[:2]) == QUIET:  # as in the preloaded process
            words = words[2:]
        modules = _libraries_of(words)
        if python != sys.executable or not modules or _at_start(environment) != _at_start():
            return launched(command, environment, log, stdin)
        return self._preloaded(modules).copy(words, environment, log, stdin)

    def launch_remote(self, python: str, pipe: socket.socket) -> StartedProcess:
        """Start a process as `training.measure.remote.launched` does."""
        words = ["-m", REMOTE]
        modules = _libraries_of(words)
        if python != sys.executable or not modules:
            return remote.launched(python, pipe)
        return self._preloaded(modules).copy(words, os.environ, ERRORS, pipe.fileno())

    def _preloaded(self, modules: tuple[str, ...]) -> Preloaded:
        with self._lock:
            if modules not in self._running:
                self._running[modules] = Preloaded(modules)
            return self._running[modules]

    def stop(self) -> None:
        for one in self._running.values():
            one.stop()


def _libraries_of(words: Sequence[str]) -> tuple[str, ...]:
    if sys.platform != "linux" or has_concrete():  # whose libraries may have started threads
        return ()
    if "--page-port" in words or (words[:2] == ["-m", "parties"] and "--port" in words):
        return PAGES
    return COMMANDS.get(words[1] if words[0] == "-m" else words[0], ())


def _at_start(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    return {name: v for name, v in environment.items() if name.startswith(READ_AT_START)}
