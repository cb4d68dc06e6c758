"""A member's bearer token, stored in its folder and renewed before it expires.

A token is renewed when two thirds of its lifetime have passed by this machine's clock, unless it
lasts as long as the application. The new token is on disk before it is used; the server accepts the
old one for another minute, so a renewal whose response was lost can be repeated.
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
"""Time between renewals if a new token has already expired by this machine's clock."""
PAUSE_SECONDS = 5.0
"""Time between a failed renewal and the next attempt."""

log = logging.getLogger(__name__)


class MemberToken:
    """The token of a party in one application; `text` is the bearer token itself."""

    def __init__(
        self, client: ServerClient, client_id: str, files: MemberFiles, remembered: MemberRecord
    ) -> None:
        self.text = files.token()
        self._client, self._client_id = client, client_id
        self._files, self._remembered = files, remembered
        self._not_before = 0.0

    def keep(self, state: ApplicationState | None) -> float:
        """Renew the token if it is time; return the seconds until the next renewal, or infinity.

        If the server is busy or unreachable, the old token stays for now. Raises NotAuthorised if
        the token has already expired.
        """
        left = self._seconds(state)
        if left > 0:
            return left
        try:
            joined = self._client.renew(self._client_id, self.text)
        except TrisealError as error:
            if not may_pass(error):
                raise
            log.info("token renewal postponed: %s", error.message)
            self._not_before = time.monotonic() + PAUSE_SECONDS
        else:
            # The token first: if the process ends in between, it is only renewed again too soon.
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
    """Record the start and the end of a token's lifetime."""
    remembered.token_from = time.time()
    remembered.token_until = None if joined.expires_at is None else joined.expires_at.timestamp()
