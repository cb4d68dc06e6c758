"""The parties' seats in an application: joined with a code, held by a token that can be renewed.

Nothing here knows of HTTP; the methods are synchronous and thread-safe.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from engines.interface import PublicModel
from service.answers import Joined, moment
from service.credentials import digest, matches, new_secret, token_of
from service.records import ApplicationRecord, TokenRecord
from service.rules import live, scopes_of
from service.storage import Storage
from settings import Settings
from utils.errors import NotAuthorised, TooManyRequests

MOST_TOKENS = 8
"""Of one party at once."""
RENEWED_SECONDS = 60.0
"""How long a token is still good after its renewal, since the answer to that may be lost."""


class Seats:
    """The seats of all applications.

    Every method raises InvalidRequest for an id that is not 32 hexadecimal digits,
    UnknownApplication, ApplicationExpired, and NotAuthorised.
    """

    def __init__(
        self,
        storage: Storage,
        public: PublicModel,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._public = public
        self._settings = settings
        self._clock = clock

    def join(
        self, client_id: str, party: str, code: str, scopes: list[str] | None = None
    ) -> Joined:
        """The party's token for its join code, once; with all of a party's scopes where None.

        Raises UnknownParty, InvalidRequest.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = live(session, client_id, now, change=True)
            self._public.schema_.party(party)
            granted = scopes_of(scopes)
            seat = next((p for p in application.parties if p.party == party), None)
            if seat is None or not matches(code, seat.code_digest) or seat.joined is not None:
                raise NotAuthorised(
                    f"This join code is not the one of {party}, or it has been used. Whoever "
                    "opened the application has the codes; a new application has new ones."
                )
            seat.joined = now
            self._storage.announce(session, client_id)
            return self._grant(application, party, granted, now)

    def renew(self, client_id: str, token: str | None) -> Joined:
        """A new token in place of a party's own, which is good for RENEWED_SECONDS more.

        Raises TooManyRequests where the party has MOST_TOKENS already.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = live(session, client_id, now, change=True)
            old = token_of(application, token, now)
            if old.party is None:
                raise NotAuthorised("Only a party's token can be renewed.")
            own = [each for each in application.tokens if each.party == old.party]
            for each in own:
                if each.expires <= now:
                    session.delete(each)
            if sum(each.expires > now for each in own) >= MOST_TOKENS:
                raise TooManyRequests(
                    f"{old.party} has renewed its token {MOST_TOKENS} times within a minute; use "
                    "the newest, and renew it later.",
                    RENEWED_SECONDS,
                )
            old.expires = min(old.expires, now + RENEWED_SECONDS)
            return self._grant(application, old.party, old.scopes, now)

    def revoke(self, client_id: str, token: str | None) -> None:
        """End the very token that is given, at once."""
        now = self._clock()
        with self._storage.write() as session:
            session.delete(token_of(live(session, client_id, now, change=True), token, now))

    def _grant(
        self, application: ApplicationRecord, party: str, scopes: list[str], now: float
    ) -> Joined:
        secret = new_secret()
        expires = min(application.expires, now + self._settings.token_hours * 3600)
        application.tokens.append(token_record(secret, party, scopes, now, expires))
        return Joined(token=secret, scopes=scopes, expires_at=moment(expires))


def token_record(
    secret: str, party: str | None, scopes: list[str], now: float, expires: float
) -> TokenRecord:
    """The row of a token; `party` is None for the opener's."""
    return TokenRecord(
        digest=digest(secret), party=party, scopes=scopes, created=now, expires=expires
    )
