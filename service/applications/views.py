"""An application's rows as plain values, for code that reads without changing anything.

Most calls only read: tokens, uploads, messages. ORM records cost four times as much to load, so
these are plain rows with the same attribute names as the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar, cast

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from service.storage.prepared import Prepared
from service.storage.tables import (
    ApplicationRecord,
    PartyRecord,
    Record,
    RunRecord,
    TokenRecord,
    UploadRecord,
    table_of,
)

R = TypeVar("R", bound=Record)

_ID = "client_id"


def _of_application(kind: type[Record]) -> Select[tuple[object, ...]]:
    table = table_of(kind)
    return select(*table.c).where(table.c[_ID] == bindparam(_ID))


_APPLICATION = Prepared(_of_application(ApplicationRecord))
_LOCKED = Prepared(_of_application(ApplicationRecord).with_for_update())
_PARTS: dict[type[Record], Prepared] = {
    kind: Prepared(_of_application(kind)) for kind in (PartyRecord, TokenRecord, UploadRecord)
}
_PARTS[RunRecord] = Prepared(_of_application(RunRecord).order_by(table_of(RunRecord).c.program))


@dataclass(frozen=True)
class ApplicationView:
    """One application; its parts are loaded in `session` on first access."""

    session: Session
    client_id: str
    store: str
    relay_key: str | None
    model_version: str
    created: float
    expires: float
    readers: list[str]
    received: int
    asked: int

    @cached_property
    def parties(self) -> Sequence[PartyRecord]:
        """The parties' join codes, and when each party joined."""
        return self._rows(PartyRecord)

    @cached_property
    def tokens(self) -> Sequence[TokenRecord]:
        """The tokens that have not been revoked."""
        return self._rows(TokenRecord)

    @cached_property
    def uploads(self) -> Sequence[UploadRecord]:
        """The content of its slots."""
        return self._rows(UploadRecord)

    @cached_property
    def runs(self) -> Sequence[RunRecord]:
        """Its programs, ordered by name."""
        return self._rows(RunRecord)

    def _rows(self, kind: type[R]) -> Sequence[R]:
        # A row has the attributes of its record, but none of the methods that change it.
        rows = _PARTS[kind].all(self.session, client_id=self.client_id)
        return cast("Sequence[R]", rows)


Application: TypeAlias = ApplicationRecord | ApplicationView


def view_of(session: Session, client_id: str, *, lock: bool = False) -> ApplicationView | None:
    """Return the application with this id, or None; `lock` locks its row until the commit."""
    row = (_LOCKED if lock else _APPLICATION).one_or_none(session, client_id=client_id)
    return None if row is None else ApplicationView(session, **row._asdict())
