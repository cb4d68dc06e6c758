"""Expiry of a party's files of an application.

The files are kept until the time at which the server ends the application, but never longer after
joining than the party's own limit, so that no server can make a party keep its keys. The server's
end time is used only if it is later than the joining; otherwise the two clocks differ, and the
application's lifetime is counted from the joining instead.

A review of the decision takes longer than that: the applicant and the lender then keep the token
for the server and the key of the review's texts, and nothing else, until the server's end time.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from parties.store import EXPIRY, REVIEW_KEY, TOKEN, PartyStore
from utils.errors import DataFolderInUse, UnknownApplication

HOUR = 3600.0
LONGEST_REVIEW_DAYS = 395
"""A lender has at most 365 days for the outcome (TRISEAL_REVIEW_DAYS), which stays for 30 more."""

log = logging.getLogger(__name__)


class Expiry(BaseModel):
    """The time of joining, and the application's end by the server; in seconds since 1970."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    version: Literal[1] = 1
    joined: float
    until: float | None = None
    reviewed: bool = False
    """True once a review of the decision was asked for."""

    def as_told(self, created_at: str, expires_at: str, reviewed: bool = False) -> Expiry:
        """Return a copy with the server's end time, or this object if `expires_at` is no time.

        `reviewed` tells that a review was asked for.
        """
        created, end = _moment(created_at), _moment(expires_at)
        if end is None:
            return self
        if end <= self.joined:
            end = self.joined if created is None else self.joined + max(0.0, end - created)
        changed = {"until": end, "reviewed": self.reviewed or reviewed}
        return self.model_copy(update=changed)

    def review_left(self, now: float) -> float:
        """Return for how many seconds the files of a review are still kept; 0 or less for none.

        They are kept until the server's end time, at most LONGEST_REVIEW_DAYS after joining.
        """
        if not self.reviewed or self.until is None:
            return 0.0
        bound = LONGEST_REVIEW_DAYS * 24 * HOUR
        return min(self.until - now, self.joined + bound - now, bound)

    def seconds_left(self, now: float, hours: float) -> float:
        """Return for how many seconds the files are still kept, at most `hours` after joining.

        The result is also at most `hours` from now, in case the clock was set back.
        """
        bound = hours * HOUR
        end = self.joined + bound
        if self.until is not None:
            end = min(end, self.until)
        return min(end - now, bound)


def read_expiry(store: PartyStore, client_id: str, party: str) -> Expiry | None:
    """Return the stored expiry, or None if there is none or it is unreadable."""
    try:
        return Expiry.model_validate_json(store.read(client_id, party, EXPIRY) or b"")
    except ValidationError:
        return None


def write_expiry(store: PartyStore, client_id: str, party: str, expiry: Expiry) -> None:
    """Write the expiry to the party's files of the application."""
    store.write(client_id, party, EXPIRY, expiry.model_dump_json().encode())


def seconds_left(store: PartyStore, client_id: str, party: str, hours: float) -> float:
    """Return for how many seconds the party's files are still kept; 0 or less if expired.

    Files without a readable expiry are kept for `hours` after a party's folder was created there.
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
    """Erase expired files, of `party` or of all parties, unless a process plays the party now.

    Returns the seconds until the next expiry, or infinity. Raises FolderNotOurs if the folder is
    not one of the parties'.
    """
    soonest = math.inf
    if not store.root.is_dir():
        return soonest
    store.claim()
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
            log.info("application %s has expired; erasing the files of %s", client_id[:8], name)
            soonest = min(soonest, erase_ended(store, client_id, name))
    return soonest


def erase_ended(store: PartyStore, client_id: str, party: str) -> float:
    """Erase a party's files of an application that has expired, whose folder is held.

    Under a review, the token for the server and the key of the review's texts stay. Returns the
    seconds until they are to be erased, or infinity if nothing is left.
    """
    expiry = read_expiry(store, client_id, party)
    left = 0.0 if expiry is None else expiry.review_left(time.time())
    if left > 0 and store.has(client_id, party, REVIEW_KEY):
        store.erase_but(client_id, party, (TOKEN, REVIEW_KEY, EXPIRY))
        return left
    store.erase_party(client_id, party)
    return math.inf


def _moment(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
