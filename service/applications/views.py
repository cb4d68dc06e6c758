"""An application's rows as plain values, for code that reads without changing anything.

Most calls only read: tokens, uploads, messages. ORM records cost four times as much to load, so
these are named tuples with the same attribute names as the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from service.storage.prepared import Prepared
from service.storage.tables import (
    ApplicationRecord,
    PartyRecord,
    PermitRecord,
    Record,
    RunRecord,
    StatementRecord,
    TokenRecord,
    UploadRecord,
    table_of,
)

_ID = "client_id"


class PartyRow(NamedTuple):
    """A party's join code, as a digest, when the party joined, and the key of its permits."""

    party: str
    code_digest: bytes
    joined: float | None
    permit_key: str | None


class TokenRow(NamedTuple):
    """A token that has not been revoked; `party` is None for the watch token."""

    digest: bytes
    party: str | None
    scopes: list[str]
    expires: float


class UploadRow(NamedTuple):
    """The content of one slot."""

    party: str
    file_name: str
    sha256: str
    size: int


class RunRow(NamedTuple):
    """One program of an application."""

    client_id: str
    program: str
    job: str | None
    status: str
    attempts: int
    queued: float | None
    deadline: float | None
    progress: float
    seconds: float | None
    loading_seconds: float | None
    sha256: str | None
    size: int | None
    error_code: str | None
    error: str | None


class StatementRow(NamedTuple):
    """A witness's statement on the result of one program."""

    program: str
    witness: str
    signature: bytes | None
    refusal: str | None


class PermitRow(NamedTuple):
    """A party's permit for a program that has not been spent."""

    jti: str
    party: str
    program: str
    inputs_sha256: str
    expires: float


Token: TypeAlias = TokenRecord | TokenRow
Upload: TypeAlias = UploadRecord | UploadRow
Run: TypeAlias = RunRecord | RunRow
Statement: TypeAlias = StatementRecord | StatementRow


def _select(kind: type[Record], columns: Sequence[str]) -> Select[Any]:
    table = table_of(kind)
    return select(*(table.c[name] for name in columns)).where(table.c[_ID] == bindparam(_ID))


_WHOLE = _select(ApplicationRecord, table_of(ApplicationRecord).c.keys())
_APPLICATION = Prepared(_WHOLE)
_LOCKED = Prepared(_WHOLE.with_for_update())
_PARTIES = Prepared(_select(PartyRecord, PartyRow._fields), PartyRow)
_TOKENS = Prepared(_select(TokenRecord, TokenRow._fields), TokenRow)
_UPLOADS = Prepared(_select(UploadRecord, UploadRow._fields), UploadRow)
_RUNS = Prepared(_select(RunRecord, RunRow._fields).order_by(table_of(RunRecord).c.program), RunRow)
_STATEMENTS = Prepared(_select(StatementRecord, StatementRow._fields), StatementRow)
_PERMITS = Prepared(
    _select(PermitRecord, PermitRow._fields).where(table_of(PermitRecord).c.job.is_(None)),
    PermitRow,
)


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
    explanation_readers: list[str]
    reasons_readers: list[str]
    witnesses: dict[str, str]
    received: int
    asked: int
    review: str | None

    @cached_property
    def parties(self) -> list[PartyRow]:
        """The parties' join codes, and when each party joined."""
        return self._rows(_PARTIES)

    @cached_property
    def tokens(self) -> list[TokenRow]:
        """The tokens that have not been revoked."""
        return self._rows(_TOKENS)

    @cached_property
    def uploads(self) -> list[UploadRow]:
        """The content of its slots."""
        return self._rows(_UPLOADS)

    @cached_property
    def runs(self) -> list[RunRow]:
        """Its programs, ordered by name."""
        return self._rows(_RUNS)

    @cached_property
    def statements(self) -> list[StatementRow]:
        """Its witnesses' statements."""
        return self._rows(_STATEMENTS) if self.witnesses else []

    @cached_property
    def permits(self) -> list[PermitRow]:
        """The permits that have not been spent, also those that have expired."""
        return self._rows(_PERMITS)

    def forget_permits(self) -> None:
        """Load the permits again on the next access, since they have been changed."""
        self.__dict__.pop("permits", None)

    def _rows(self, query: Prepared) -> list[Any]:
        return query.all(self.session, client_id=self.client_id)


Application: TypeAlias = ApplicationRecord | ApplicationView


def view_of(session: Session, client_id: str, *, lock: bool = False) -> ApplicationView | None:
    """Return the application with this id, or None; `lock` locks its row until the commit."""
    row = (_LOCKED if lock else _APPLICATION).one_or_none(session, client_id=client_id)
    return None if row is None else ApplicationView(session, **row._asdict())
