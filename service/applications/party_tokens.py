"""The parties' tokens: issued for a join code, renewed and revoked.

This module is independent of HTTP; its methods are synchronous and thread-safe.
"""

from __future__ import annotations

from sqlalchemy import delete, insert, update

from contract.http import Joined, moment
from service.applications.base import ApplicationService
from service.applications.credentials import token_of
from service.applications.rules import scopes_of, seen, witnesses_of
from service.applications.views import ApplicationView
from service.storage.storage import even_when_full
from service.storage.tables import PartyRecord, TokenRecord, table_of
from utils.errors import ForeignMessage, InvalidRequest, NotAuthorised, TooManyRequests
from utils.tokens import digest, matches, new_secret

MOST_TOKENS = 8
"""Valid tokens that one party may have at the same time."""
RENEWED_SECONDS = 60.0
"""Time for which a token stays valid after its renewal, since the response may be lost."""


class PartyTokens(ApplicationService):
    """The tokens of the parties of all applications.

    Every method raises InvalidRequest for an id that is not 32 hexadecimal digits,
    UnknownApplication, ApplicationExpired, and NotAuthorised.
    """

    def join(
        self,
        client_id: str,
        party: str,
        code: str,
        scopes: list[str] | None = None,
        permit_key: str | None = None,
        model_sha256: str | None = None,
    ) -> Joined:
        """Exchange a join code, once, for the party's token; with all scopes if `scopes` is None.

        `permit_key` is the public key of the party's permits, in hexadecimal; it cannot be changed
        later. Raises UnknownParty, InvalidRequest also for another party's key, and ForeignMessage
        if `model_sha256` is not the digest of the server's model.
        """
        if model_sha256 not in (None, self._public.digest):
            raise ForeignMessage(
                "The server has loaded another model than this program: restart the program, then "
                "join again. The join code has not been used."
            )
        now = self._clock()
        with self._storage.write() as session:
            application = seen(session, client_id, now, lock=True)
            self._public.schema_.party(party)
            granted = scopes_of(scopes)
            row = next((p for p in application.parties if p.party == party), None)
            if row is None or not matches(code, row.code_digest) or row.joined is not None:
                raise NotAuthorised(
                    f"This is not {party}'s join code, or the code has been used. Ask the person "
                    "who opened the application for the code, or open a new application."
                )
            parties = table_of(PartyRecord)
            own = (parties.c.client_id == client_id) & (parties.c.party == party)
            if permit_key is not None and any(
                permit_key == row.permit_key for row in application.parties
            ):
                raise InvalidRequest("permit_key: another party has this key; make one of its own.")
            session.execute(update(parties).where(own).values(joined=now, permit_key=permit_key))
            self._storage.announce(session, client_id)
            return self._grant(application, party, granted, now)

    def renew(self, client_id: str, token: str | None) -> Joined:
        """Issue a new token in place of a party's own, which stays valid for RENEWED_SECONDS.

        Raises TooManyRequests if the party already has MOST_TOKENS valid tokens.
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
                    "the newest token, and renew it later.",
                    RENEWED_SECONDS,
                )
            until = min(old.expires, now + RENEWED_SECONDS)
            this = TokenRecord.digest == old.digest
            session.execute(update(TokenRecord).where(this).values(expires=until))
            return self._grant(application, old.party, old.scopes, now)

    @even_when_full
    def revoke(self, client_id: str, token: str | None) -> None:
        """Revoke the given token, at once."""
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
            explanation_readers=application.explanation_readers,
            reasons_readers=application.reasons_readers,
            witnesses=witnesses_of(application.witnesses),
            application_created_at=moment(application.created),
            application_expires_at=moment(application.expires),
        )


def token_row(
    client_id: str,
    secret: str,
    party: str | None,
    scopes: list[str],
    times: tuple[float, float],
) -> dict[str, object]:
    """Return the row of a token; `times` is when it was created and when it expires.

    `party` is None for the watch token.
    """
    return {
        "client_id": client_id,
        "digest": digest(secret),
        "party": party,
        "scopes": scopes,
        "created": times[0],
        "expires": times[1],
    }
