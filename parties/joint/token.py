"""A member's token: kept in its folder, and renewed before its time is over.

That is when two thirds of the time from its making to its end have passed by this machine's clock,
unless it lasts as long as the application anyway. The new token is on disk before it is used; the
server takes the old one for a minute more, so a renewal whose answer was lost is made again.
"""

from __future__ import annotations

import logging
import math
import time
from datetime import datetime

from contract.http import ApplicationState, Joined
from parties.client import ServerClient
from parties.joint.files import MemberFiles, MemberRecord
from parties.retrying import may_pass
from parties.store import TOKEN
from utils.errors import TrisealError

SHARE = 2 / 3
ODD_CLOCK_SECONDS = 60.0
"""Between renewals where this machine's clock says that a new token is over already."""
PAUSE_SECONDS = 5.0
"""After a renewal that did not succeed."""

log = logging.getLogger(__name__)


class MemberToken:
    """The token of a party in one application; `text` is what to send."""

    def __init__(
        self, client: ServerClient, client_id: str, files: MemberFiles, remembered: MemberRecord
    ) -> None:
        self.text = files.token()
        self._client, self._client_id = client, client_id
        self._files, self._remembered = files, remembered
        self._not_before = 0.0

    def keep(self, state: ApplicationState | None) -> float:
        """Renew it if it is time; the seconds until it will be, or infinity.

        Where the server is busy or not there, the old one is kept for now. Raises NotAuthorised
        where it was too late.
        """
        left = self._seconds(state)
        if left > 0:
            return left
        try:
            joined = self._client.renew(self._client_id, self.text)
        except TrisealError as error:
            if not may_pass(error):
                raise
            log.info("a token is not renewed yet: %s", error.message)
            self._not_before = time.monotonic() + PAUSE_SECONDS
        else:
            # The token first: ended in between, this party renews it once more, and too soon.
            self._files.write(TOKEN, joined.token.encode())
            note_times(self._remembered, joined)
            self._files.keep_member(self._remembered)
            self.text = joined.token
        return self._seconds(state)

    def _seconds(self, state: ApplicationState | None) -> float:
        made, ends = self._remembered.token_from, self._remembered.token_until
        if made is None or ends is None:
            return math.inf
        if state is not None and ends >= datetime.fromisoformat(state.expires_at).timestamp():
            return math.inf
        lasts = SHARE * (ends - made) if ends > made else ODD_CLOCK_SECONDS
        return max(made + lasts - time.time(), self._not_before - time.monotonic())


def note_times(remembered: MemberRecord, joined: Joined) -> None:
    """Remember from when and until when a token is good."""
    remembered.token_from = time.time()
    remembered.token_until = None if joined.expires_at is None else joined.expires_at.timestamp()
