"""The demonstration's processes, each the leader of its own process group.

Pages are copies of one process that has imported Gradio, which takes seconds of processor time.
They are made by the fork server of the standard library, on Linux only. A copy begins before the
page has read a setting, a key or a record, so that pages share nothing but the code of libraries.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Protocol

from setproctitle import setproctitle

from settings import ROOT

_PRELOADED = "ui.demo_libraries"


class DemoProcess(Protocol):
    """A running process of the demonstration."""

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, if there is one left."""

    def wait(self) -> None:
        """Wait until the process has ended."""


class Command:
    """A script or module of this project, run by the current interpreter."""

    def __init__(
        self, words: Sequence[str], variables: Mapping[str, str], streams: tuple[int, int]
    ) -> None:
        """Start it; its standard output and error are the descriptors of `streams`."""
        self._started = subprocess.Popen(  # noqa: S603 - our own file, no shell
            [sys.executable, *words], cwd=ROOT, env={**os.environ, **variables},
            stdin=subprocess.DEVNULL, stdout=streams[0], stderr=streams[1], start_new_session=True,
        )  # fmt: skip

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""
        child = self._started
        if child.returncode is None:
            # WNOWAIT leaves the child to be reaped by `wait`, so that its number is not reused.
            ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return None
            return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return child.returncode

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, if there is one left."""
        if self._started.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._started.pid, number)

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._started.wait()


class Page:
    """A module of this project with a page, as a copy of the process of `context`."""

    def __init__(
        self,
        context: ForkServerContext,
        words: Sequence[str],
        variables: Mapping[str, str],
        streams: tuple[int, int],
    ) -> None:
        """Start it; its standard output and error are copies of the descriptors of `streams`."""
        # A connection is what the standard library can send to another process.
        out, err = (Connection(os.dup(stream), readable=False) for stream in streams)
        with out, err:
            self._process = context.Process(
                target=_run, args=(tuple(words), dict(variables), out, err)
            )
            self._process.start()

    def exit_code(self) -> int | None:
        """Return the exit code, negative for a signal, or None while the process runs."""
        return self._process.exitcode

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, if it still runs."""
        pid = self._process.pid
        if pid is None or not self._process.is_alive():  # a page starts no processes
            return
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # not the leader of its group yet
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._process.join()


def page_context() -> ForkServerContext | None:
    """Return the context for pages, or None where processes cannot be copied safely."""
    if sys.platform != "linux":
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    return context


def _run(
    words: tuple[str, ...], variables: dict[str, str], out: Connection, err: Connection
) -> None:
    """Become the page: run a module with its arguments, as `python -m` does."""
    os.setsid()
    for stream, number in ((out, 1), (err, 2)):
        with stream:
            os.dup2(stream.fileno(), number)
    # The copied process's own may have been files, and ask for a position that pipes do not have.
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    setproctitle(f"python -m {' '.join(words)}")
    os.environ.update(variables)
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
