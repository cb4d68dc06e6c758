"""Partners: institutions that the operator has registered, recognised by a token.

A token is 256 random bits, shown once and stored as SHA-256. It is enough to ask for a permit, and
not to use one: a permit names the partner's public key, with which the request that redeems it has
to be signed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, select

from contract.governance import PartnerKind, PartnerLine, PartnerLines, PartnerToken
from contract.http import moment
from service.storage.prepared import Prepared
from service.storage.storage import OPENING, Storage
from service.storage.tables import PartnerRecord, table_of
from utils.errors import AlreadySent, NotAuthorised, QuotaExceeded, UnknownName
from utils.tokens import digest, matches, new_secret

MOST_PARTNERS = 1000
_PARTNERS = table_of(PartnerRecord)
_OF_TOKEN = Prepared(select(_PARTNERS).where(_PARTNERS.c.token_digest == bindparam("token_digest")))


class Caller(NamedTuple):
    """The partner that makes a call; `key` is its public key, 32 bytes."""

    partner_id: str
    kind: str
    key: bytes


class Partners:
    """The registered partners; the methods are synchronous and thread-safe."""

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.time) -> None:
        self._storage, self._clock = storage, clock

    def add(self, partner_id: str, kind: PartnerKind, key: str) -> PartnerToken:
        """Register a partner and return its token.

        Raises AlreadySent if the id is taken, and QuotaExceeded.
        """
        token = new_secret()
        with self._storage.write() as session:
            self._storage.lock(session, OPENING)
            known = session.scalars(select(_PARTNERS.c.partner_id)).all()
            if partner_id in known:
                raise AlreadySent(
                    f"{partner_id} is registered already. Remove it first to replace its token or "
                    "key."
                )
            if len(known) >= MOST_PARTNERS:
                raise QuotaExceeded(f"The server has its maximum of {MOST_PARTNERS} partners.")
            row = {
                "partner_id": partner_id,
                "kind": kind,
                "token_digest": digest(token),
                "key": key,
                "created": self._clock(),
            }
            session.execute(insert(_PARTNERS), row)
        return PartnerToken(partner_id=partner_id, token=token)

    def list(self) -> PartnerLines:
        """Return all partners."""
        with self._storage.read() as session:
            rows = session.execute(select(_PARTNERS).order_by(_PARTNERS.c.partner_id)).all()
        return PartnerLines(
            items=[
                PartnerLine(
                    partner_id=row.partner_id,
                    partner_type=row.kind,
                    key=row.key,
                    registered_at=moment(row.created),
                )
                for row in rows
            ]
        )

    def remove(self, partner_id: str) -> None:
        """Remove a partner, whose token is no longer valid; raises UnknownName."""
        with self._storage.write() as session:
            gone = delete(_PARTNERS).where(_PARTNERS.c.partner_id == partner_id)
            if session.scalar(gone.returning(_PARTNERS.c.partner_id)) is None:
                raise UnknownName("There is no partner of this id.")

    def caller(self, token: str | None) -> Caller:
        """Return the partner whose token this is; raises NotAuthorised."""
        given = token or ""
        with self._storage.read() as session:
            row = _OF_TOKEN.one_or_none(session, token_digest=digest(given))
        if row is None or not matches(given, bytes(row.token_digest)):
            raise NotAuthorised(
                "Send the token of a registered partner; the server's operator issues it with "
                "`python -m service.operations partner add`."
            )
        return Caller(row.partner_id, row.kind, bytes.fromhex(row.key))
