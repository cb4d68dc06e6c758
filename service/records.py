"""The tables of the server's database.

Times are seconds since 1970. Join codes and tokens are kept as SHA-256 only; what a party sent
and what was evaluated lie in files (`blob` is a random name in the uploads folder).
"""

from __future__ import annotations

from sqlalchemy import JSON, ForeignKey, LargeBinary, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

FORMAT = 2
"""Of these tables; a database of another format is emptied, since applications last for hours."""

IDLE, RUNNING, DONE, FAILED = "idle", "running", "done", "failed"


class Record(DeclarativeBase):
    """Base of the tables."""


def _owner() -> Mapped[str]:
    return mapped_column(ForeignKey("applications.client_id", ondelete="CASCADE"), primary_key=True)


class ApplicationRecord(Record):
    """One credit application, for the model it was opened with."""

    __tablename__ = "applications"

    client_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    model_version: Mapped[str] = mapped_column(String(64))
    created: Mapped[float]
    expires: Mapped[float] = mapped_column(index=True)
    readers: Mapped[list[str]] = mapped_column(JSON)
    watch_digest: Mapped[bytes] = mapped_column(LargeBinary(32))

    parties: Mapped[list[PartyRecord]] = relationship(passive_deletes=True)
    uploads: Mapped[list[UploadRecord]] = relationship(passive_deletes=True)
    runs: Mapped[list[RunRecord]] = relationship(passive_deletes=True)


class PartyRecord(Record):
    """A party's way in: its join code, and once that is used its token, both as digests."""

    __tablename__ = "parties"

    client_id: Mapped[str] = _owner()
    party: Mapped[str] = mapped_column(String(32), primary_key=True)
    code_digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    token_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))


class UploadRecord(Record):
    """What lies in one slot."""

    __tablename__ = "uploads"

    client_id: Mapped[str] = _owner()
    party: Mapped[str] = mapped_column(String(32), primary_key=True)
    file_name: Mapped[str] = mapped_column(String(40), primary_key=True)
    blob: Mapped[str] = mapped_column(String(32), unique=True)
    size: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))


class RunRecord(Record):
    """How far one program of an application is."""

    __tablename__ = "runs"

    client_id: Mapped[str] = _owner()
    program: Mapped[str] = mapped_column(String(40), primary_key=True)
    status: Mapped[str] = mapped_column(String(8), default=IDLE)
    seconds: Mapped[float | None]
    blob: Mapped[str | None] = mapped_column(String(32), unique=True)
    size: Mapped[int | None]
    error: Mapped[str | None]


class TrafficRecord(Record):
    """One thing that travelled, numbered from 1 in each application.

    `receiver` is None for all parties. Only what a party gave for another has a body: the server
    keeps it as it came. What went to or came from the server itself lies elsewhere.
    """

    __tablename__ = "traffic"

    client_id: Mapped[str] = _owner()
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    sender: Mapped[str] = mapped_column(String(32))
    receiver: Mapped[str | None] = mapped_column(String(32))
    what: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


class TombstoneRecord(Record):
    """All that is left of an application whose time was over, so that it answers 410, not 404."""

    __tablename__ = "tombstones"

    client_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    expired: Mapped[float]
