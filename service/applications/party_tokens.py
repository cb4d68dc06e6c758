"""The parties' seats in an application: joined with a code, held by a token that can be renewed.

Nothing here knows of HTTP; the methods are synchronous and thread-safe.
"""

from __future__ import annotations

from sqlalchemy import delete, insert, update

from contract.http import Joined, moment
from service.applications.base import ApplicationService
from service.applications.credentials import digest, matches, new_secret, token_of
from service.applications.rules import scopes_of, seen
from service.applications.views import ApplicationView
from service.storage.storage import even_when_full
from service.storage.tables import PartyRecord, TokenRecord, table_of
from utils.errors import NotAuthorised, TooManyRequests

MOST_TOKENS = 8
"""Of one party at once."""
RENEWED_SECONDS = 60.0
"""How long a token is still good after its renewal, since the answer to that may be lost."""


class PartyTokens(ApplicationService):
    """The seats of all applications.

    Every method raises InvalidRequest for an id that is not 32 hexadecimal digits,
    UnknownApplication, ApplicationExpired, and NotAuthorised.
    """

    def join(
        self, client_id: str, party: str, code: str, scopes: list[str] | None = None
    ) -> Joined:
        """The party's token for its join code, once; with all of a party's scopes where None.

        Raises UnknownParty, InvalidRequest.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = seen(session, client_id, now, lock=True)
            self._public.schema_.party(party)
            granted = scopes_of(scopes)
            seat = next((p for p in application.parties if p.party == party), None)
            if seat is None or not matches(code, seat.code_digest) or seat.joined is not None:
                raise NotAuthorised(
                    f"This join code is not the one of {party}, or it has been used. Whoever "
                    "opened the application has the codes; a new application has new ones."
                )
            seats = table_of(PartyRecord)
            own = (seats.c.client_id == client_id) & (seats.c.party == party)
            session.execute(update(seats).where(own).values(joined=now))
            self._storage.announce(session, client_id)
            return self._grant(application, party, granted, now)

    def renew(self, client_id: str, token: str | None) -> Joined:
        """A new token in place of a party's own, which is good for RENEWED_SECONDS more.

        Raises TooManyRequests where the party has MOST_TOKENS already.
        """
        now = self._clock()
        with self._storage.write() as session:
            application = seen(session, client_id, now, lock=True)
            old = token_of(application, token, now)
            if old.party is None:
                raise NotAuthorised("Only a party's token can be renewed.")
            own = (TokenRecord.client_id == client_id) & (TokenRecord.party == old.party)
            session.execute(delete(TokenRecord).where(own, TokenRecord.expires <= now))
            good = [t for t in application.tokens if t.party == old.party and t.expires > now]
            if len(good) >= MOST_TOKENS:
                raise TooManyRequests(
                    f"{old.party} has renewed its token {MOST_TOKENS} times within a minute; use "
                    "the newest, and renew it later.",
                    RENEWED_SECONDS,
                )
            until = min(old.expires, now + RENEWED_SECONDS)
            this = TokenRecord.digest == old.digest
            session.execute(update(TokenRecord).where(this).values(expires=until))
            return self._grant(application, old.party, old.scopes, now)

    @even_when_full
    def revoke(self, client_id: str, token: str | None) -> None:
        """End the very token that is given, at once."""
        now = self._clock()
        with self._storage.write() as session:
            own = token_of(seen(session, client_id, now, lock=True), token, now)
            session.execute(delete(TokenRecord).where(TokenRecord.digest == own.digest))

    def _grant(
        self, application: ApplicationView, party: str, scopes: list[str], now: float
    ) -> Joined:
        secret = new_secret()
        expires = min(application.expires, now + self._settings.token_hours * 3600)
        row = token_row(application.client_id, secret, party, scopes, (now, expires))
        application.session.execute(insert(table_of(TokenRecord)), row)
        return Joined(
            token=secret,
            scopes=scopes,
            expires_at=moment(expires),
            readers=application.readers,
        )


def token_row(
    client_id: str,
    secret: str,
    party: str | None,
    scopes: list[str],
    times: tuple[float, float],
) -> dict[str, object]:
    """The row of a token that is good from the first of `times` to the second.

    `party` is None for the opener's.
    """
    return {
        "client_id": client_id,
        "digest": digest(secret),
        "party": party,
        "scopes": scopes,
        "created": times[0],
        "expires": times[1],
    }
