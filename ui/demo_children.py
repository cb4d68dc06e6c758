"""The processes of the demonstration: started, watched, started again, and stopped together."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ui.demo_by_hand import shown_path
from ui.demo_output import ProcessOutput
from ui.demo_processes import Command, DemoProcess, Page, page_context
from ui.demo_restarts import Restarts
from utils.errors import ServerUnreachable

GRACE_SECONDS = 15.0
"""Time for a child to end before it is killed; the server needs up to 10 seconds."""


class Child:
    """A process of the demonstration, which may be started again.

    `needed` is True if the demonstration ends with it. `by_hand` is the command that starts it
    outside of the demonstration, if there is one.
    """

    def __init__(
        self,
        start: Callable[[bool], DemoProcess],
        output: ProcessOutput,
        needed: bool,
        by_hand: str,
    ) -> None:
        self._start, self.output = start, output
        self.needed, self.by_hand = needed, by_hand
        self.restarts = Restarts()
        self.process: DemoProcess | None = start(False)

    def start_again(self) -> None:
        """Start the process again."""
        self.restarts.started()
        self.process = self._start(True)


class Children:
    """The processes of the demonstration.

    `variables` of a process are passed in its environment or through a pipe, which other users of
    the machine cannot read.
    """

    def __init__(self, logs: Path, several_pages: bool, say: Callable[[str], None]) -> None:
        self._logs, self._say, self._children = logs, say, dict[str, Child]()
        self._pages = page_context() if several_pages else None
        self._kept = False

    def start(
        self, name: str, words: Sequence[str], settings: Mapping[str, str], needed: bool = False
    ) -> None:
        """Start a script, or a module after `-m`; its log is NAME.log."""
        output, given = self._output(name, name), variables_of(settings)

        def start(_: bool) -> DemoProcess:
            with output.streams() as streams:
                return Command(words, given, streams)

        self._children[name] = Child(start, output, needed, "")

    def start_page(
        self,
        name: str,
        log: str,
        words: Sequence[str],
        settings: Mapping[str, str],
        *,
        again: Sequence[str] | None = None,
        needed: bool = False,
        by_hand: str = "",
    ) -> None:
        """Start a module that has a page; `words` are its name and arguments.

        `log` is the name of its log, and `again` are the words of a later start, if they differ.
        """
        output, given = self._output(name, log), variables_of(settings)

        def start(later: bool) -> DemoProcess:
            own = again if later and again is not None else words
            with output.streams() as streams:
                if self._pages is None:
                    return Command(["-m", *own], given, streams)
                return Page(self._pages, own, given, streams)

        self._children[name] = Child(start, output, needed, by_hand)

    def _output(self, name: str, log: str) -> ProcessOutput:
        return ProcessOutput(name, self._logs / f"{log}.log", self._say)

    def keep(self) -> None:
        """From now on, start children that end again."""
        self._kept = True

    def check(self) -> None:
        """Start those that have ended again, when it is time.

        Raises ServerUnreachable if a child has ended before `keep` was called, or if one that is
        needed has ended too often.
        """
        for name, child in self._children.items():
            if child.process is None:
                if child.restarts.due():
                    child.start_again()
                continue
            code = child.process.exit_code()
            if code is not None:
                self._ended(name, child, code)

    def _ended(self, name: str, child: Child, code: int) -> None:
        log = shown_path(child.output.path)
        ended = f"The {name} has ended ({_reason(code)}); see {log}."
        if not self._kept:
            raise ServerUnreachable(ended)
        if child.process is not None:
            child.process.signal(signal.SIGKILL)  # the rest of its group
            child.process.wait()
            child.process = None
        delay = child.restarts.ended()
        child.output.note(f"[the {name} has ended: {_reason(code)}]")
        if delay is not None:
            self._say(f"{ended} It is started again in {delay:.0f} s.")
            return
        more = f" Start it by hand: {child.by_hand}" if child.by_hand else ""
        given_up = f"{ended} It has ended too often and is not started again.{more}"
        if child.needed:
            raise ServerUnreachable(given_up)
        self._say(given_up)

    def stop(self) -> None:
        """Terminate every child and its group; kill those that do not end in time."""
        running = [child.process for child in self._children.values() if child.process is not None]
        for child in self._children.values():
            child.output.silence()
        for process in running:
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in running:
            while process.exit_code() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            # Kill the group even if its leader has ended: other members may still run.
            process.signal(signal.SIGKILL)
            process.wait()
        for child in self._children.values():
            child.output.close()


def variables_of(settings: Mapping[str, str]) -> dict[str, str]:
    """Return settings as environment variables."""
    return {f"TRISEAL_{name.upper()}": value for name, value in settings.items()}


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
