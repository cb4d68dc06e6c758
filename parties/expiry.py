"""How long a party keeps the files of an application.

Until the server's end of it, and never longer than the party's own bound after joining, so that no
server can make a party keep its keys. The server's moment is believed only where it lies after the
joining: elsewhere the two clocks differ, and the length of the application's life counts instead.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from parties.store import EXPIRY, PartyStore
from utils.errors import DataFolderInUse, UnknownApplication

HOUR = 3600.0

log = logging.getLogger(__name__)


class Expiry(BaseModel):
    """When a party joined, and the application's end as the server says; in seconds since 1970."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = 1
    joined: float
    until: float | None = None

    def as_told(self, created_at: str, expires_at: str) -> Expiry:
        """Return this with the server's end of the application; unchanged where it says none."""
        created, end = _moment(created_at), _moment(expires_at)
        if end is None:
            return self
        if end <= self.joined:
            end = self.joined if created is None else self.joined + max(0.0, end - created)
        return self if end == self.until else self.model_copy(update={"until": end})

    def seconds_left(self, now: float, hours: float) -> float:
        """Return how long the files are still kept, at most `hours` after joining.

        And at most `hours` from now: a clock that was set back adds nothing beyond that.
        """
        bound = hours * HOUR
        end = self.joined + bound
        if self.until is not None:
            end = min(end, self.until)
        return min(end - now, bound)


def read_expiry(store: PartyStore, client_id: str, party: str) -> Expiry | None:
    """Return what is stored, or None where nothing readable is."""
    try:
        return Expiry.model_validate_json(store.read(client_id, party, EXPIRY) or b"")
    except ValidationError:
        return None


def write_expiry(store: PartyStore, client_id: str, party: str, expiry: Expiry) -> None:
    """Store it among the party's files of the application."""
    store.write(client_id, party, EXPIRY, expiry.model_dump_json().encode())


def seconds_left(store: PartyStore, client_id: str, party: str, hours: float) -> float:
    """Return how long the party's files of the application are still to be kept; 0 or less: gone.

    Files without a readable expiry are kept for `hours` after a party's folder was made there.
    """
    now, expiry = time.time(), read_expiry(store, client_id, party)
    if expiry is not None:
        return expiry.seconds_left(now, hours)
    try:
        made = store.application_folder(client_id).stat().st_mtime
    except FileNotFoundError:  # erased meanwhile
        return math.inf
    return min(made - now, 0.0) + hours * HOUR


def erase_expired(store: PartyStore, hours: float, party: str | None = None) -> float:
    """Erase what has expired, of `party` or of all parties, unless somebody plays it now.

    Returns the seconds until the next of them expires, or infinity. Raises FolderNotOurs where the
    folder is not the parties'.
    """
    store.claim()
    soonest = math.inf
    for client_id, name in store.folders():
        if party not in (None, name):
            continue
        left = seconds_left(store, client_id, name, hours)
        if left > 0:
            soonest = min(soonest, left)
            continue
        with (
            suppress(DataFolderInUse, UnknownApplication),
            store.hold(client_id, name),
        ):
            log.info("application %s has expired: %s's files are erased", client_id[:8], name)
            store.erase_party(client_id, name)
    return soonest


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
