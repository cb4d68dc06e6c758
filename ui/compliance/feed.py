"""The newest lines of the log, which all sessions of the page share.

However many tabs are open, the server is asked at most once in REFRESH_SECONDS, for the log's size,
and for lines only if there are new ones. An erasure makes all lines be read again, since readable
details about the person must not stay here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from governance.reports import Line, Row, row_of
from ui.compliance.operator_client import OperatorClient
from utils.errors import ServerBusy, TrisealError

REFRESH_SECONDS = 4.0
MOST_KEPT = 1000
"""Lines that are kept, the newest."""


@dataclass(frozen=True)
class Entry:
    """A line of the log, and what may be shown of it."""

    line: Line
    row: Row


@dataclass(frozen=True)
class News:
    """The lines at one time, the newest first; `serial` changes with anything else here.

    `problem` says why they may be out of date. `policy_entry` is the last change of the policy.
    """

    serial: int = 0
    entries: tuple[Entry, ...] = ()
    size: int = 0
    problem: str = ""
    policy_entry: int = -1


class Feed:
    """The log's newest lines; `look` may be called from any thread."""

    def __init__(self, client: OperatorClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self._lock = threading.Lock()
        self._news = News()
        self._quiet_until = float("-inf")

    def look(self) -> News:
        """Return the lines, at most REFRESH_SECONDS old, or the reason why they are older."""
        with self._lock:
            if self._clock() >= self._quiet_until:
                pause = REFRESH_SECONDS
                try:
                    self._refresh()
                except TrisealError as error:
                    if isinstance(error, ServerBusy):
                        pause = max(pause, error.retry_seconds)
                    self._tell(self._news.entries, self._news.size, error.message)
                self._quiet_until = self._clock() + pause
            return self._news

    def _refresh(self) -> None:
        size, known = self._client.facts().size, self._news.size
        if size < known:
            # Not taken over: the alarm stays until the page is restarted.
            problem = (
                f"The log has become shorter: {known} entries before, {size} now. Compare it with "
                "the last cosigned checkpoint before you trust it."
            )
            self._tell(self._news.entries, known, problem)
            return
        entries = self._news.entries
        if size > known:
            new = self._client.newest(min(size - known, MOST_KEPT))
            if any(line.kind == "erasure" for line in new) and entries:
                self._tell((), 0, "")
                new, entries = self._client.newest(MOST_KEPT), ()
            fresh = {line.index: Entry(line, row_of(line)) for line in new}
            older = [entry for entry in entries if entry.line.index not in fresh]
            entries = (*fresh.values(), *older)[:MOST_KEPT]
        self._tell(entries, size, "")

    def _tell(self, entries: tuple[Entry, ...], size: int, problem: str) -> None:
        old = self._news
        if (entries, size, problem) == (old.entries, old.size, old.problem):
            return
        changes = (entry.line.index for entry in entries if entry.line.kind == "policy_change")
        self._news = News(
            old.serial + 1, entries, size, problem, max(changes, default=old.policy_entry)
        )
