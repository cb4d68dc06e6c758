"""The applications that this stage has opened: join codes, and whether one is being played.

They are kept in memory, so that a reload or a second tab shows the parties' pages again. Only a
browser session with the application's watch token gets them.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from parties.joint.codes import JointOpening
from ui.stage.playing import Play

KEPT = 256
"""Applications that are remembered; of more, the oldest are forgotten."""


@dataclass(frozen=True)
class OpenedHere:
    """An application opened by this process."""

    token: str = field(repr=False)
    codes: Mapping[str, str] = field(repr=False)
    play: Play


class OpenedApplications:
    """The newest applications that were opened here; safe to share between threads."""

    def __init__(self, play_of: Callable[[str, str], Play]) -> None:
        self._play_of = play_of
        self._opened: OrderedDict[str, OpenedHere] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, opening: JointOpening) -> OpenedHere:
        """Remember an application."""
        play = self._play_of(opening.client_id, opening.watch_token)
        made = OpenedHere(opening.watch_token, opening.codes, play)
        with self._lock:
            self._opened[opening.client_id] = made
            while len(self._opened) > KEPT:
                _, oldest = self._opened.popitem(last=False)
                oldest.play.pause()
        return made

    def find(self, client_id: str, token: str) -> OpenedHere | None:
        """Return an application, or None if it is not known or the watch token is not its own."""
        with self._lock:
            found = self._opened.get(client_id)
        if found is None or not secrets.compare_digest(found.token.encode(), token.encode()):
            return None
        return found
