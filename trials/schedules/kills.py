"""Kills of a party at any point: before or after each write of a file and each call to the server.

A fuse counts these points down. When it reaches zero, and from then on, every one of them raises
Killed, so that the party writes and sends nothing more, as after `kill -9`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from parties.store import SECRET_KEY, PartyStore


class Killed(BaseException):
    """The party's process has been killed; not an Exception, so that no code of it handles this."""


class Fuse:
    """Counts the points at which a party can be killed; `left` of None never kills."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.burnt = False

    def point(self) -> None:
        """Pass a point; raises Killed if the fuse ends here, and at all later points."""
        if self.left is not None and not self.burnt:
            self.left -= 1
            self.burnt = self.left <= 0
        if self.burnt:
            raise Killed

    def around(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call with a point before and after."""
        self.point()
        result = call(*arguments, **named)
        self.point()
        return result


class FragileStore(PartyStore):
    """A party's files, with points before and after each change."""

    def __init__(self, root: Path, fuse: Fuse, erased: Callable[[], None]) -> None:
        super().__init__(root)
        self._fuse, self._erased = fuse, erased

    def write(self, client_id: str, party: str, name: str, data: bytes) -> None:
        self._fuse.around(super().write, client_id, party, name, data)

    def remove(self, client_id: str, party: str, name: str) -> None:
        self._fuse.point()
        super().remove(client_id, party, name)
        if name == SECRET_KEY:
            self._erased()
        self._fuse.point()

    def erase_party(self, client_id: str, party: str) -> None:
        self._fuse.point()
        super().erase_party(client_id, party)
        self._erased()
        self._fuse.point()
