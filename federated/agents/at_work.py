"""An agent at work, with or without a page: one thread trains while another serves the page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from federated.agents.progress import Event, TrainingView
from federated.agents.rounds import Round
from federated.boosting.trees import Tree
from federated.plan import Plan
from parties.agent_options import OpenAgentPages, page_of
from settings import Settings
from utils.errors import TrisealError

Kind = Literal["coordinator", "lender"]
STOP_SECONDS = 15.0
"""Longest wait for the agent at the end of the process; it may be killed at any time after that."""


class Agent(Protocol):
    """The calls that agents of both kinds have."""

    @property
    def serial(self) -> int: ...
    @property
    def known_plan(self) -> Plan | None: ...
    @property
    def trees(self) -> tuple[Tree, ...]: ...
    def view(self) -> TrainingView: ...
    def events(self) -> tuple[Event, ...]: ...
    def rounds(self) -> tuple[Round, ...]: ...
    def run(self, report: Callable[[TrainingView], None] | None = None) -> TrainingView: ...
    def stop(self) -> None: ...


class AtWork:
    """An agent of a training as its page sees it; thread-safe.

    `end` cancels a coordinator's training, or has a lender leave. `files` are the finished model
    and its record by their title, and `codes` is the folder of a coordinator's codes.
    """

    def __init__(
        self,
        kind: Kind,
        agent: Agent,
        end: Callable[[], None],
        files: Mapping[str, Path],
        codes: Path | None = None,
    ) -> None:
        self.kind, self.agent, self.codes = kind, agent, codes
        self._end, self._files = end, dict(files)
        self._changes = 0
        self.ending = False
        """True once `end` was called."""
        self.error: TrisealError | OSError | None = None
        """The error with which the agent has stopped working."""

    @property
    def serial(self) -> int:
        """A number that rises with every change."""
        return self.agent.serial + self._changes

    @property
    def name(self) -> str:
        """The name of the agent in its training."""
        return self.agent.view().name

    def files(self) -> dict[str, Path]:
        """Return the files of the finished model that exist, by their title."""
        return {title: path for title, path in self._files.items() if path.is_file()}

    def end(self) -> None:
        """End this agent's part in the training, at its next step."""
        self.ending = True
        self._changes += 1
        self._end()

    def run(
        self,
        report: Callable[[TrainingView], None],
        settings: Settings,
        page_port: int | None,
        open_pages: OpenAgentPages | None,
    ) -> TrainingView:
        """Work until the training has ended, or, with a page, until the page is stopped.

        Returns the last view. Raises what the agent's `run` raises, with a page once that is
        stopped.
        """
        if page_port is None:
            return self.agent.run(report)
        worker = threading.Thread(target=self._work, args=(report,), name="training", daemon=True)
        worker.start()
        try:
            with page_of(self, settings, page_port, open_pages) as serve_page:
                if serve_page is not None:
                    serve_page()
        finally:
            self.agent.stop()
            worker.join(STOP_SECONDS)
        if self.error is not None:
            raise self.error
        return self.agent.view()

    def _work(self, report: Callable[[TrainingView], None]) -> None:
        try:
            self.agent.run(report)
        except (TrisealError, OSError) as error:
            self.error = error
        self._changes += 1
